/* The routes of nginx.conf that directives cannot answer. Each is a function of the request; what
   they have in common is in the files beside this one. Runs on njs 0.7.9 and later. */

import builtin_form from 'builtin_form.js';
import engine from 'engine.js';
import json_lines from 'json_lines.js';
import log from 'log.js';
import pictures from 'pictures.js';
import readiness from 'readiness.js';
import refusals from 'refusals.js';
import zero_rows from 'zero_rows.js';

/* The route, with an end to every request, whatever happens in it. */
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
    builtin: ending(builtin_form.answer),
    drawn: ending(pictures.drawn),
    error: ending(refusals.error),
    line: log.line,
    lines: ending(json_lines.answer),
    picture: ending(pictures.answer),
    ping: ending(readiness.ping),
    short_json: ending(zero_rows.inspect),
    turn: ending(engine.turn),
};
