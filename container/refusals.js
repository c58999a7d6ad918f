/* Errors: always JSON, always with a sentence that says what to do, never a page of nginx's. */

import sent from 'sent.js';

const ROUTES = 'POST /invocations, GET /ping, GET /execution-parameters';
const TYPES = 'application/json (TensorFlow Serving\'s predict request), application/jsonlines, ' +
    'a bare picture as image/jpeg, image/png, image/gif, image/bmp or image/webp, or ' +
    'application/x-image';
const RETRY_AFTER = '1'; // seconds
const CONDITIONS = ['If-Match', 'If-None-Match', 'If-Unmodified-Since'];

// The keys are strings: in njs 0.7.9 a number that is a key compares wrongly elsewhere.
const SENTENCES = {
    '400': () => 'the request is not proper HTTP/1.1; look at its request line and headers',
    '404': (r) => `${path(r)}: no such route; there are ${ROUTES}`,
    '405': (r) => `${path(r)}: method not allowed; use ${allowed(r)}`,
    '406': (r) => `Accept ${sent.text(r, 'http_accept')}: cannot be given for Content-Type ` +
        `${sent.text(r, 'content_type')}; application/json can, and image/jpeg for a bare picture`,
    '412': () => 'If-Match, If-None-Match, If-Unmodified-Since: an answer has no version to compare; ' +
        'leave the header out',
    '413': (r) => `the body is larger than ${r.variables.payload_megabytes} MB; send a smaller ` +
        'picture, or fewer in one request',
    '414': () => 'the address is longer than 8 kB; what is asked belongs into the body',
    '415': (r) => `Content-Type ${sent.text(r, 'content_type') || '(none)'}: not understood; ` +
        `send ${TYPES}`,
    '431': () => 'a header is longer than 8 kB, or all of them are longer than 32 kB; send less',
    '501': () => 'Transfer-Encoding: only chunked is understood',
    '502': () => 'the model server is not there; GET /ping says when it is back',
    '503': () => `too many requests with large bodies at once; try again in ${RETRY_AFTER} s`,
    '504': () => 'the model server did not answer within 60 s; send fewer or smaller pictures',
    '505': () => 'only HTTP/1.0 and HTTP/1.1 are understood',
};

/* What nginx itself refused; the location said why, or the status does. */
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

/* Whether there is a header that is a 412, even an empty one: nginx would refuse the ready answer for
   it, from within r.return, and the worker die of that. */
function is_conditional(r) {
    return CONDITIONS.some((name) => r.headersIn[name] !== undefined);
}

/* An exception, which would leave the client waiting; not one of the sending itself, after which a
   second answer would end the worker. */
function broken(r, e) {
    if (String(e).includes('failed to send response')) {
        return;
    }
    fail(r, 500, `the front failed, which is its own mistake: ${e}`);
}

function sentence(r, status) {
    const known = SENTENCES[status];
    return known ? known(r) : 'nginx failed; its log says why';
}

function path(r) {
    return sent.text(r, 'request_uri').split('?')[0];
}

function allowed(r) {
    return r.variables.allow || 'GET, POST';
}

export default {RETRY_AFTER, broken, error, fail, is_conditional, sentence};
