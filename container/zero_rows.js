/* With batching on, TensorFlow Serving never answers {"inputs": []} and loses a thread to it, so
   nginx.conf sends short JSON here first. */

import refusals from 'refusals.js';

const SHORT = 100000; // bytes; a longer body has rows
const NO_ROWS = /"inputs"\s*:\s*(\[\s*\]|\{[^}]*:\s*\[\s*\])/;

function inspect(r) {
    const body = r.requestBuffer;
    if (body && body.length < SHORT) {
        if (r.headersIn['Content-Encoding']) {
            return refusals.fail(r, 415, 'Content-Encoding: with batching on, JSON below 100 kB ' +
                'must not be compressed');
        }
        if (has_no_rows(body.toString())) {
            return refusals.fail(r, 400, '"inputs" has no rows; send at least one');
        }
    }
    r.internalRedirect('/json');
}

function has_no_rows(text) {
    let inputs;
    try {
        inputs = JSON.parse(text).inputs;
    } catch (e) {
        return NO_ROWS.test(text); // TensorFlow Serving accepts more than JSON
    }
    if (Array.isArray(inputs)) {
        return !inputs.length;
    }
    const values = inputs instanceof Object ? Object.keys(inputs).map((name) => inputs[name]) : [];
    return values.some((value) => Array.isArray(value) && !value.length);
}

export default {inspect};
