/* A request to a model server. Each has a number of slots (max_conns in engine.conf); further requests
   queue for at most wait_seconds. nginx does not notify them when a slot becomes free, so a queued
   request retries with exponential backoff. */

import refusals from 'refusals.js';

const FIRST_PAUSE = 4; // ms
const LONGEST_PAUSE = 400;
const BROKEN_OFF = { // reported by nginx as 200
    status: 502,
    headersOut: {},
    variables: {},
    responseText: '',
    why: 'the model server closed the connection in the middle of its response; check GET /ping',
};

/* Calls `done` with the reply of `location` in nginx.conf; without a free slot, that of the last
   attempt. A callback, because JSON Lines send thousands of requests, and a promise's memory is only
   freed when the whole request is over. */
function ask(r, location, options, done) {
    const begin = Date.now();
    const until = begin + 1000 * r.variables.wait_seconds;
    let pause = FIRST_PAUSE;
    let asked;

    function attempt() {
        asked = Date.now();
        r.subrequest(location, options, decide);
    }

    function decide(reply) {
        if (is_busy(reply) && asked < until) {
            // With jitter, so that requests that arrived together do not retry together.
            setTimeout(attempt, Math.min(pause * (0.5 + Math.random()), until - asked));
            pause = Math.min(pause * 1.6, LONGEST_PAUSE);
            return;
        }
        add(r, 'waited_ms', asked - begin);
        add(r, 'engine_ms', Date.now() - asked);
        try {
            done(is_whole(reply) ? reply : BROKEN_OFF);
        } catch (e) {
            refusals.broken(r, e);
        }
    }

    attempt();
}

/* Sends the model server's response unchanged, or the reason why there is none. */
function pass_on(r, reply) {
    if (is_missing(reply)) {
        return refuse(r, reply);
    }
    r.headersOut['Content-Type'] = 'application/json';
    r.return(reply.status, reply.responseBuffer);
}

function refuse(r, reply) {
    if (is_busy(reply)) {
        const waited = `no free slot within ${r.variables.wait_seconds} s`;
        return refusals.fail(r, 503, `the model is busy: ${waited}; retry in ` +
            `${refusals.RETRY_AFTER} s, or add instances`);
    }
    refusals.fail(r, reply.status, reply.why || refusals.sentence(r, reply.status));
}

/* When nginx.conf could not proxy JSON: no model server is running, or none has a free slot. */
function turn(r) {
    if (!is_busy(r)) {
        return refusals.fail(r, 502, refusals.sentence(r, 502));
    }
    // Without its own body, a subrequest gets the body of the request.
    ask(r, '/json_again', {method: 'POST'}, (reply) => pass_on(r, reply));
}

/* A model server that dies or hangs may have sent a part of its response. */
function is_whole(reply) {
    const told = reply.headersOut['Content-Length'];
    return told === undefined || Number(told) === (reply.responseBuffer || '').length;
}

/* The model server sends JSON only; HTML comes from nginx. */
function is_missing(reply) {
    return !(reply.headersOut['Content-Type'] || '').startsWith('application/json');
}

/* The last address that nginx tried is the upstream itself when no slot was free. */
function is_busy(r) {
    return (r.variables.upstream_addr || '').endsWith('engine');
}

function add(r, name, ms) {
    r.variables[name] = String(Number(r.variables[name] || 0) + ms);
}

export default {ask, is_missing, pass_on, refuse, turn};
