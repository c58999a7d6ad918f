/* An error whose message is shown to the user as it is. */

export class PageError extends Error {
    constructor(message, retryable = false) {
        super(message);
        this.retryable = retryable;
    }
}
