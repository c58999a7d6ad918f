/* What the directives of nginx.conf cannot say: a picture becomes TensorFlow Serving's predict
   JSON, /ping asks the model server, and every error is JSON. Nothing of a body that is JSON
   already is read here. Runs on njs 0.7.9 and later. */

const ROUTES = 'POST /invocations, GET /ping, GET /execution-parameters';
const TYPES = 'application/json (TensorFlow Serving\'s predict request) or a bare picture as ' +
    'image/jpeg, image/png, image/gif or image/bmp';

// The keys are strings: in njs 0.7.9 a number that is a key compares wrongly elsewhere.
const SENTENCES = {
    '400': () => 'the request is not proper HTTP/1.1; look at its request line and headers',
    '404': (r) => `${path(r)}: no such route; there are ${ROUTES}`,
    '405': (r) => `${path(r)}: method not allowed; use ${allowed(r)}`,
    '413': () => 'the body is larger than 25 MB; send a smaller picture, or fewer in one request',
    '414': () => 'the address is longer than 8 kB; what is asked belongs into the body',
    '415': (r) => `Content-Type ${type(r)}: not understood; send ${TYPES}`,
    '431': () => 'a header is longer than 8 kB, or all of them are longer than 32 kB; send less',
    '501': () => 'Transfer-Encoding: only chunked is understood',
    '502': () => 'the model server is not there; GET /ping says when it is back',
    '504': () => 'the model server did not answer within 60 s; send fewer or smaller pictures',
    '505': () => 'only HTTP/1.0 and HTTP/1.1 are understood',
};

async function image(r) {
    const encoding = r.headersIn['Content-Encoding'];
    if (encoding) {
        return fail(r, 415, `Content-Encoding ${encoding}: send the picture as it is`);
    }
    const picture = r.requestBuffer;
    if (!picture || !picture.length) {
        return fail(r, 400, 'the body is empty; send the picture');
    }
    const body = JSON.stringify({instances: [{b64: picture.toString('base64')}]});
    const reply = await r.subrequest('/predict', {method: 'POST', body: body});
    r.headersOut['Content-Type'] = 'application/json';
    r.return(reply.status, reply.responseBuffer);
}

async function ping(r) {
    const reply = await r.subrequest('/status');
    const reason = not_ready(reply);
    if (reason) {
        return fail(r, 503, reason);
    }
    r.return(200);
}

function error(r) {
    const status = Number(r.variables.status);
    if (status === 405) {
        r.headersOut.Allow = allowed(r);
    }
    const sentence = SENTENCES[status] || (() => 'nginx failed; its log says why');
    fail(r, status, r.variables.why || sentence(r));
}

function not_ready(reply) {
    if (reply.status === 502) {
        return 'the model server is not there yet, or no longer; its log says why';
    }
    if (reply.status !== 200) {
        return `the model server does not answer (${reply.status})`;
    }
    let states;
    try {
        states = JSON.parse(reply.responseText).model_version_status.map((v) => v.state);
    } catch (e) {
        return 'the model server gave no model status';
    }
    return states.includes('AVAILABLE') ? '' : `the model is not ready: ${states.join(', ')}`;
}

function fail(r, status, sentence) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify({error: sentence}));
}

function path(r) {
    return (r.variables.request_uri || r.uri).split('?')[0];
}

function allowed(r) {
    return r.variables.allow || 'GET, POST';
}

function type(r) {
    return r.headersIn['Content-Type'] || '(none)';
}

export default {image, ping, error};
