/* A bare image: converted into TensorFlow Serving's predict request, and for Accept: image/jpeg the
   response back into an image. */

import engine from 'engine.js';
import refusals from 'refusals.js';

const DRAWN = /"b64": ?"([^"]*)"/;

/* POST of an image: TensorFlow Serving's JSON for it. */
async function answer(r) {
    const reply = await ask(r);
    if (reply) {
        engine.pass_on(r, reply);
    }
}

/* The same with Accept: image/jpeg: the image with its boxes drawn. */
async function drawn(r) {
    const reply = await ask(r, 'draw');
    if (!reply) {
        return;
    }
    if (reply.status !== 200) {
        if (lacks(reply, 'draw')) {
            return refusals.fail(r, 406, 'Accept image/jpeg: this model cannot draw, it has no ' +
                'signature "draw"; use application/json');
        }
        return engine.pass_on(r, reply);
    }
    const picture = DRAWN.exec(reply.responseText); // JSON.parse takes four times as long
    if (!picture) {
        return refusals.fail(r, 406, 'Accept image/jpeg: the output of this model\'s signature ' +
            '"draw" is not an image; use application/json');
    }
    r.headersOut['Content-Type'] = 'image/jpeg';
    r.return(200, Buffer.from(picture[1], 'base64'));
}

/* The model server's reply; undefined if the request was rejected without one. */
async function ask(r, signature) {
    const picture = r.requestBuffer;
    if (!picture || !picture.length) {
        return refusals.fail(r, 400, 'the body is empty; send the image');
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
