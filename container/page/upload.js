/* Images over Lambda's limit: the HTTP API returns a form for S3, and then reads what was uploaded. */

import {API} from './api.js';
import {PageError} from './errors.js';

const MAX_BASE64 = 5.9 * 2 ** 20; // The event around the image takes the rest of Lambda's 6 MB.
const UPLOADS = '/uploads'; // serverless/page.yaml passes it on to S3, so that the policy allows it.

export function needs_upload(image) {
    return Boolean(API) && 4 * image.size / 3 > MAX_BASE64;
}

/* Uploads the image with the API's form and returns the API's name for it. */
export async function upload(image, {fields, upload: name}, send) {
    const form = new FormData();
    Object.entries(fields).forEach((field) => form.append(...field));
    form.append('file', image); // S3 ignores the fields after it.
    const {response, body} = await send(UPLOADS, {method: 'POST', body: form});
    if (!response.ok) {
        const [, reason] = /<Message>([^<]*)/.exec(await body.text()) || [];
        throw new PageError(`The upload failed with ${response.status}: ${reason ||
            'the page was deployed without UploadsDomain'}.\nTurn on "Shrink large images".`);
    }
    return name;
}
