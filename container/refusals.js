/* Errors: always JSON with a message that says what to do, never nginx's HTML pages. */

import sent from 'sent.js';

const ROUTES = 'POST /invocations, GET /ping, GET /execution-parameters';
const TYPES = 'application/json (TensorFlow Serving\'s predict request), application/jsonlines, ' +
    'a bare image as image/jpeg, image/png, image/gif, image/bmp or image/webp, or ' +
    'application/x-image';
const RETRY_AFTER = '1'; // seconds
const CONDITIONS = ['If-Match', 'If-None-Match', 'If-Unmodified-Since'];

// String keys, because njs 0.7.9 has a bug with number keys.
const SENTENCES = {
    '400': () => 'malformed HTTP/1.1; check the request line and headers',
    '404': (r) => `${path(r)}: no such route; use ${ROUTES}`,
    '405': (r) => `${path(r)}: method not allowed; use ${allowed(r)}`,
    '406': (r) => `Accept ${sent.text(r, 'http_accept')}: not available for Content-Type ` +
        `${sent.text(r, 'content_type')}; use application/json, or image/jpeg for a bare image`,
    '412': () => 'If-Match, If-None-Match, If-Unmodified-Since: responses have no version to compare; ' +
        'remove the header',
    '413': (r) => `the body is larger than ${r.variables.payload_megabytes} MB; send a smaller ` +
        'image, or fewer per request',
    '414': () => 'the URL is longer than 8 kB; send the data in the body',
    '415': (r) => `Content-Type ${sent.text(r, 'content_type') || '(none)'}: not supported; ` +
        `send ${TYPES}`,
    '431': () => 'a header is over 8 kB, or all headers together are over 32 kB; send less',
    '501': () => 'Transfer-Encoding: only chunked is supported',
    '502': () => 'the model server is not running; check GET /ping',
    '503': () => `too many requests with large bodies at once; retry in ${RETRY_AFTER} s`,
    '504': () => 'the model server did not respond within 60 s; send fewer or smaller images',
    '505': () => 'only HTTP/1.0 and HTTP/1.1 are supported',
};

/* An error of nginx itself; the reason comes from the location, or from the status. */
function error(r) {
    const status = Number(r.variables.status);
    if (status === 405) {
        r.headersOut.Allow = allowed(r);
    }
    fail(r, status, sent.text(r, 'why') || sentence(r, status));
}

function fail(r, status, why) {
    r.variables.why = why; // for the log
    r.headersOut['Content-Type'] = 'application/json';
    if (status === 503) {
        r.headersOut['Retry-After'] = RETRY_AFTER;
    }
    r.return(status, JSON.stringify({error: why}));
}

/* Whether there is a conditional header, even an empty one: nginx would reject the response inside
   r.return, and the worker would crash. */
function is_conditional(r) {
    return CONDITIONS.some((name) => r.headersIn[name] !== undefined);
}

/* An exception, after which the client would wait forever; except one while sending, after which a
   second response would crash the worker. */
function broken(r, e) {
    if (String(e).includes('failed to send response')) {
        return;
    }
    fail(r, 500, `internal error in the gateway: ${e}`);
}

function sentence(r, status) {
    const known = SENTENCES[status];
    return known ? known(r) : 'nginx failed; see its log';
}

function path(r) {
    return sent.text(r, 'request_uri').split('?')[0];
}

function allowed(r) {
    return r.variables.allow || 'GET, POST';
}

export default {RETRY_AFTER, broken, error, fail, is_conditional, sentence};
