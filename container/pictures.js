/* A bare picture: TensorFlow Serving's predict request is made of it, and sometimes the picture of
   the answer. */

import engine from 'engine.js';
import refusals from 'refusals.js';

const DRAWN = /"b64": ?"([^"]*)"/;

/* POST of a picture: TensorFlow Serving's JSON for it. */
async function answer(r) {
    const reply = await ask(r);
    if (reply) {
        engine.pass_on(r, reply);
    }
}

/* The same with Accept: image/jpeg: the picture with its boxes. */
async function drawn(r) {
    const reply = await ask(r, 'draw');
    if (!reply) {
        return;
    }
    if (reply.status !== 200) {
        if (lacks(reply, 'draw')) {
            return refusals.fail(r, 406, 'Accept image/jpeg: this model cannot draw, it has no ' +
                'signature "draw"; ask for application/json');
        }
        return engine.pass_on(r, reply);
    }
    const picture = DRAWN.exec(reply.responseText); // JSON.parse takes four times as long
    if (!picture) {
        return refusals.fail(r, 406, 'Accept image/jpeg: what this model\'s signature "draw" ' +
            'answers is no picture; ask for application/json');
    }
    r.headersOut['Content-Type'] = 'image/jpeg';
    r.return(200, Buffer.from(picture[1], 'base64'));
}

/* The engine's reply to the picture; undefined if there was none, which the client has been told. */
async function ask(r, signature) {
    const picture = r.requestBuffer;
    if (!picture || !picture.length) {
        return refusals.fail(r, 400, 'the body is empty; send the picture');
    }
    const head = signature ? `{"signature_name":"${signature}",` : '{';
    const body = `${head}"instances":[{"b64":"${picture.toString('base64')}"}]}`;
    const options = {method: 'POST', body: body};
    return new Promise((done) => engine.ask(r, '/predict', options, done));
}

function lacks(reply, signature) {
    return reply.status === 400 &&
        reply.responseText.includes(`\\"${signature}\\" not found in signature def`);
}

export default {answer, ask, drawn, lacks};
