/* What went wrong, in words for whoever looks at the page. */

export class Trouble extends Error {
    /* `passing`: that it may be otherwise if tried again. */
    constructor(words, passing = false) {
        super(words);
        this.passing = passing;
    }
}
