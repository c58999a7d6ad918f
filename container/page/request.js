/* Requests to the server: images to /invocations or to the HTTP API, and the samples. */

import {API, UPLOAD_FORM, URL_OF_ROUTE, key_headers} from './api.js';
import {PageError} from './errors.js';
import {needs_upload, upload} from './upload.js';

const MAX_ATTEMPTS = 5;
const RETRYABLE = [...(API ? [401, 403] : []), 429, 500, 502, 503, 504]; // The key may be wrong.
const IMAGE_ERROR = /(?:^|\[)(?:image|picture) \d+ of the request ([^\]\n]*)/;
const GRAPH_NODE = /\s*\[\[\{\{.*$/s; // TensorFlow appends where in its graph an error occurred.
const MAX_MESSAGE = 400; // characters

/* Returns the response's text and the time it took. */
export async function predict(image, signal, report, more_headers = {}) {
    const json = {type: 'application/json'};
    if (needs_upload(image)) {
        const {text} = await post(UPLOAD_FORM, new Blob([], json), signal, report);
        report('Uploading the image…');
        const upload_name = await upload(image, JSON.parse(text),
            (url, options) => send(url, {...options, signal}));
        report('Waiting for the response…');
        image = new Blob([JSON.stringify({upload: upload_name})], json);
    }
    return post(URL_OF_ROUTE, image, signal, report, more_headers);
}

/* Retries as long as the server says when. */
async function post(url, content, signal, report, more_headers = {}) {
    for (let attempt = 1; ; attempt++) {
        const start = performance.now();
        const {response, body} = await send(url, {
            method: 'POST',
            headers: {'Content-Type': content.type, 'Accept': 'application/json', ...key_headers(),
                ...more_headers},
            body: content,
            signal,
        });
        const text = await body.text();
        if (response.ok) {
            return {text, ms: performance.now() - start};
        }
        const {status, headers} = response;
        const seconds = Number(headers.get('Retry-After'));
        if (status !== 503 || !seconds || attempt === MAX_ATTEMPTS) {
            throw new PageError(error_message(status, text), RETRYABLE.includes(status));
        }
        report(`The server is overloaded. Retrying in ${seconds} s ` +
            `(${attempt} of ${MAX_ATTEMPTS - 1}).`);
        await sleep(seconds, signal);
    }
}

export async function fetch_sample(url, name) {
    const {body} = await send(url);
    return new File([body], name);
}

async function send(url, options) {
    try {
        const response = await fetch(url, options);
        return {response, body: await response.blob()};
    } catch (e) {
        options?.signal.throwIfAborted();
        throw new PageError(`No response from ${location.origin}. Check that it is running.`, true);
    }
}

function error_message(status, text) {
    let message;
    let hint;
    try {
        const told = JSON.parse(text);
        message = String(told.error || text);
        hint = told.hint;
    } catch (e) {
        message = text.trim() || 'no error message';
    }
    const [, problem] = IMAGE_ERROR.exec(message) || [];
    if (problem) {
        return `The model rejected this image: it ${problem}.`;
    }
    message = message.replace(GRAPH_NODE, '');
    return `The server returned ${status}: ` +
        (message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message) +
        (hint ? `\nHint: ${hint}` : '');
}

function sleep(seconds, signal) {
    return new Promise((resolve, reject) => {
        setTimeout(resolve, 1000 * seconds);
        signal.addEventListener('abort', () => reject(signal.reason), {once: true});
    });
}
