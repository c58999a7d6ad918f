/* A request to an engine. Each takes so many at once (max_conns in engine.conf); whoever comes later
   waits for a place until wait_seconds are over. nginx wakes nobody when one becomes free, so that a
   request that waits asks again and again, more and more seldom. */

import refusals from 'refusals.js';

const FIRST_PAUSE = 4; // ms
const LONGEST_PAUSE = 400;
const BROKEN_OFF = { // what nginx gives as 200
    status: 502,
    headersOut: {},
    variables: {},
    responseText: '',
    why: 'the model server broke off in the middle of its answer; GET /ping says whether it is there',
};

/* Gives `done` the reply to what nginx.conf has in `location`; if no place became free, that of the
   last try. A callback, because JSON Lines ask thousands of times: what a promise takes is given back
   only when the whole request is over. */
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
            // By chance a little sooner or later: who came together shall not stay together.
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

/* The engine's answer as it is, or why there is none. */
function pass_on(r, reply) {
    if (is_missing(reply)) {
        return refuse(r, reply);
    }
    r.headersOut['Content-Type'] = 'application/json';
    r.return(reply.status, reply.responseBuffer);
}

function refuse(r, reply) {
    if (is_busy(reply)) {
        const waited = `${r.variables.wait_seconds} s passed without a free place`;
        return refusals.fail(r, 503, `the model is busy: ${waited}; try again in ` +
            `${refusals.RETRY_AFTER} s, or add instances`);
    }
    refusals.fail(r, reply.status, reply.why || refusals.sentence(r, reply.status));
}

/* What nginx.conf does when it could not pass JSON on: nobody is there, or nobody has a place. */
function turn(r) {
    if (!is_busy(r)) {
        return refusals.fail(r, 502, refusals.sentence(r, 502));
    }
    // Without a body of its own, a subrequest has that of the request.
    ask(r, '/json_again', {method: 'POST'}, (reply) => pass_on(r, reply));
}

/* An engine that dies, or hangs, may have begun to answer. */
function is_whole(reply) {
    const told = reply.headersOut['Content-Length'];
    return told === undefined || Number(told) === (reply.responseBuffer || '').length;
}

/* The engine speaks JSON only; pages are nginx's. */
function is_missing(reply) {
    return !(reply.headersOut['Content-Type'] || '').startsWith('application/json');
}

/* Of all that nginx tried last came the group as a whole, which had no place. */
function is_busy(r) {
    return (r.variables.upstream_addr || '').endsWith('engine');
}

function add(r, name, ms) {
    r.variables[name] = String(Number(r.variables[name] || 0) + ms);
}

export default {ask, is_missing, pass_on, refuse, turn};
