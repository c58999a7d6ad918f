/* The routes of nginx.conf that need more than directives: one function each. Runs on njs 0.7.9 and
   later. */

import builtin_form from 'builtin_form.js';
import engine from 'engine.js';
import json_lines from 'json_lines.js';
import log from 'log.js';
import pictures from 'pictures.js';
import readiness from 'readiness.js';
import refusals from 'refusals.js';
import zero_rows from 'zero_rows.js';

/* A route for clients, which rejects conditional requests. */
function answering(route) {
    return ending((r) => refusals.is_conditional(r) ?
        refusals.fail(r, 412, refusals.sentence(r, 412)) : route(r));
}

/* The route with a response to every request, even after an exception. */
function ending(route) {
    return async (r) => {
        try {
            await route(r);
        } catch (e) {
            refusals.broken(r, e);
        }
    };
}

export default {
    builtin: answering(builtin_form.answer),
    drawn: answering(pictures.drawn),
    error: ending(refusals.error),
    line: log.line,
    lines: answering(json_lines.answer),
    picture: answering(pictures.answer),
    ping: answering(readiness.ping),
    short_json: answering(zero_rows.inspect),
    turn: answering(engine.turn),
};
