/* The one call this page makes of the model: a bare picture to /invocations. */

import {Trouble} from './trouble.js';

export const ROUTE = '/invocations';
const MOST_TRIES = 5;
const MAY_PASS = [429, 500, 502, 503, 504];
const OF_PICTURE = /\[((?:image|picture) \d+ of the request [^\]]*)\]/;
const OF_GRAPH = /\s*\[\[\{\{.*$/s; // where in TensorFlow's graph, which helps nobody here
const LONGEST_WORDS = 400;

/* The answer's text and the milliseconds it took. Who is told to come again later does. */
export async function ask(picture, signal, tell) {
    for (let tries = 1; ; tries++) {
        const begin = performance.now();
        const {response, text} = await post(picture, signal);
        if (response.ok) {
            return {text: text, ms: performance.now() - begin};
        }
        const seconds = Number(response.headers.get('Retry-After'));
        if (response.status !== 503 || !seconds || tries === MOST_TRIES) {
            throw new Trouble(words(response.status, text), MAY_PASS.includes(response.status));
        }
        tell(`The model is busy. Retrying in ${seconds} s (${tries} of ${MOST_TRIES - 1}).`);
        await pause(seconds, signal);
    }
}

async function post(picture, signal) {
    const headers = {'Content-Type': picture.type, 'Accept': 'application/json'};
    try {
        const response = await fetch(ROUTE, {method: 'POST', headers: headers, body: picture, signal: signal});
        return {response: response, text: await response.text()};
    } catch (e) {
        signal.throwIfAborted();
        throw new Trouble(`No response from ${location.origin}. Is the server still running?`, true);
    }
}

function words(status, text) {
    let said;
    try {
        said = String(JSON.parse(text).error || text);
    } catch (e) {
        said = text.trim() || 'nothing more is said';
    }
    const flaw = OF_PICTURE.exec(said);
    if (flaw) {
        return `The model rejected it: ${flaw[1].replace(/^\w+ \d+ of the request/, 'this image')}.`;
    }
    said = said.replace(OF_GRAPH, '');
    const short = said.length > LONGEST_WORDS ? `${said.slice(0, LONGEST_WORDS)}…` : said;
    return `The server returned ${status}: ${short}`;
}

function pause(seconds, signal) {
    return new Promise((done, fail) => {
        setTimeout(done, 1000 * seconds);
        signal.addEventListener('abort', () => fail(signal.reason), {once: true});
    });
}
