/* GET /ping: asks every engine for every model, all at once, beside the places that requests take. */

import refusals from 'refusals.js';

const fs = require('fs');
const LOADING = ['START', 'LOADING'];

async function ping(r) {
    if (is_stopping()) {
        return refusals.fail(r, 503, 'the container is stopping; requests in flight are finished');
    }
    const models = r.variables.models.split(' ');
    const questions = [];
    engines().forEach((engine) => models.forEach((model) => questions.push([engine, model])));
    const reasons = await Promise.all(questions.map((q) => not_ready(r, q[0], q[1])));
    const failed = reasons.findIndex((why) => why);
    if (failed === -1) {
        return r.return(200);
    }
    const which = questions.length > 1 ? `${questions[failed].join(', ')}: ` : '';
    refusals.fail(r, 503, which + reasons[failed]);
}

/* The supervisor leaves this file when it is told to stop. */
function is_stopping() {
    try {
        fs.accessSync(ngx.conf_prefix + 'stopping');
        return true;
    } catch (e) {
        return false;
    }
}

/* Where they are is said once, in engine.conf; the group that nginx makes of it cannot be asked for
   its members. */
function engines() {
    const text = fs.readFileSync(ngx.conf_prefix + 'engine.conf', 'utf8');
    return text.match(/\bserver\s+[^\s;]+/g).map((words) => words.split(/\s+/)[1]);
}

async function not_ready(r, engine, model) {
    const reply = await r.subrequest('/status', {args: `engine=${engine}&model=${model}`});
    if (reply.status === 502) {
        return 'the model server is not there yet, or no longer; its log says why';
    }
    if (reply.status !== 200) {
        return `the model server does not answer (${reply.status})`;
    }
    try {
        return missing(JSON.parse(reply.responseText).model_version_status);
    } catch (e) {
        return 'the model server gave no model status';
    }
}

/* What is not there of the versions of a model; '' if nothing. The engine answers as soon as one of
   them is ready, with an older one while the newest loads. One that has END without an error was taken
   away, by whoever keeps the engine. */
function missing(versions) {
    const states = versions.map((v) => v.state);
    const failed = versions.find((v) => v.state === 'END' && v.status && v.status.error_code !== 'OK');
    if (failed) {
        return `version ${failed.version} cannot be loaded: ${failed.status.error_message}`;
    }
    const is_ready = states.includes('AVAILABLE') && !states.some((s) => LOADING.includes(s));
    return is_ready ? '' : `the model is not ready: ${states.join(', ')}`;
}

export default {ping};
