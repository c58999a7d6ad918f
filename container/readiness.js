/* GET /ping: requests the status of every model from every model server, outside of their slots. */

import refusals from 'refusals.js';

const fs = require('fs');
const LOADING = ['START', 'LOADING'];
const STOPPING = 'the container is stopping; requests in flight are being completed';

async function ping(r) {
    if (is_stopping()) {
        return refusals.fail(r, 503, STOPPING);
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

/* The supervisor creates this file when it stops. */
function is_stopping() {
    try {
        fs.accessSync(ngx.conf_prefix + 'stopping');
        return true;
    } catch (e) {
        return false;
    }
}

/* The addresses in engine.conf; nginx has no way to list the members of an upstream. */
function engines() {
    const text = fs.readFileSync(ngx.conf_prefix + 'engine.conf', 'utf8');
    return text.replace(/#.*/g, '').match(/\bserver\s+[^\s;]+/g).map((words) => words.split(/\s+/)[1]);
}

async function not_ready(r, engine, model) {
    const reply = await r.subrequest('/status', {args: `engine=${engine}&model=${model}`});
    if (reply.status === 502) {
        return 'the model server is not running, or still loading; see its log';
    }
    if (reply.status !== 200) {
        return `the model server does not respond (${reply.status})`;
    }
    try {
        return missing(JSON.parse(reply.responseText).model_version_status);
    } catch (e) {
        return 'the model server returned no model status';
    }
}

/* Why a model is not ready; '' if it is. The model server responds as soon as one version is ready,
   with an older one while the newest loads. A version in state END without an error was unloaded on
   purpose. */
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
