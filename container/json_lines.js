/* JSON Lines: each record is its own request and has one line in the response. Several are in flight
   at a time, so that the model can batch them. The body is split line by line, so that other requests
   are handled in between. */

import engine from 'engine.js';
import refusals from 'refusals.js';

const NEWLINE = 10;
const MOST = 50000; // records; each uses some 13 kB until the request is over
const PORTION = 100000; // characters read before other requests are handled
const NOT_ASCII = /[^\x00-\x7f]/;
const BASE64 = /^[A-Za-z0-9+\/]+={0,2}$/;

function answer(r) {
    const lines = reader(r);
    const answers = [];
    let in_flight = 0;
    let paused = false;
    let failed = null; // a reply that is not the fault of a record

    function go_on() {
        let taken = 0;
        while (lines.left() && !failed && in_flight < r.variables.records_in_flight) {
            if (taken > PORTION) {
                return pause();
            }
            taken += take(lines.next());
        }
        if (!in_flight && !paused) {
            finish(r, answers, failed);
        }
    }

    function pause() {
        if (!paused) {
            paused = true;
            setTimeout(() => {
                paused = false;
                go_on();
            }, 0);
        }
    }

    function take(line) {
        const place = answers.length;
        const body = request(line);
        if (!body) {
            answers.push(error_line(place));
            return line.length;
        }
        answers.push('');
        in_flight++;
        engine.ask(r, '/record', {method: 'POST', body: body}, (reply) => {
            in_flight--;
            answers[place] = on_one_line(reply.responseText);
            failed = is_fatal(reply) ? reply : failed;
            go_on();
        });
        return line.length;
    }

    if (lines.count() > MOST) {
        return refusals.fail(r, 413, `the body has more than ${MOST} records; split it ` +
            '(Batch Transform: a smaller MaxPayloadInMB)');
    }
    go_on();
}

function finish(r, answers, failed) {
    if (failed) {
        return engine.pass_on(r, failed);
    }
    if (!answers.length) {
        return refusals.fail(r, 400, 'the body has no records; send one JSON line per record');
    }
    r.headersOut['Content-Type'] = 'application/jsonlines';
    r.return(200, answers.join('\n') + '\n');
}

/* Returns one line after the other; text after the last newline is a line if not empty. */
function reader(r) {
    const body = r.requestBuffer || Buffer.from('');
    const text = r.requestText || '';
    // Then bytes and characters are the same, and slices are cheap; njs is slow with UTF-8.
    const is_ascii = !NOT_ASCII.test(text);
    let at = 0;

    function end_of(start) {
        const found = body.indexOf(NEWLINE, start);
        return found === -1 ? body.length : found;
    }

    function count() {
        let lines = 0;
        for (let start = 0; start < body.length; start = end_of(start) + 1) {
            lines++;
        }
        return lines;
    }

    function next() {
        const end = end_of(at);
        const line = is_ascii ? text.slice(at, end) : utf8(body.slice(at, end));
        at = end + 1;
        return line.trim();
    }

    return {count: count, left: () => at < body.length, next: next};
}

/* A line without a byte order mark; '' if it is not UTF-8. */
function utf8(bytes) {
    const text = bytes.toString();
    const is_text = !text.includes('\ufffd') || Buffer.from(text).equals(bytes);
    return is_text ? text.replace('\ufeff', '') : '';
}

/* The predict request for a record; '' if it is not JSON. */
function request(text) {
    let record;
    try {
        record = JSON.parse(text);
    } catch (e) {
        return BASE64.test(text) ? `{"instances":[{"b64":"${text}"}]}` : '';
    }
    return typeof record === 'string' ? `{"instances":[{"b64":${text}}]}` : `{"instances":[${text}]}`;
}

function error_line(place) {
    return JSON.stringify({error: `line ${place + 1} is not JSON; send one record per line: ` +
        '{"b64": "..."}, a base64 string, or an instance for the model'});
}

/* The model or model server is missing or busy: the next record would fail as well, and the client can
   retry the whole request. */
function is_fatal(reply) {
    return engine.is_missing(reply) || [404, 503, 504].includes(reply.status);
}

/* TensorFlow Serving's JSON has line breaks, but never inside a string. */
function on_one_line(text) {
    return text.split('\n').map((line) => line.trim()).join('');
}

export default {answer};
