/* The log: one JSON line per request, without its payload. With a metrics namespace the line is also
   in CloudWatch's Embedded Metric Format, so that CloudWatch derives metrics from the log. */

import sent from 'sent.js';

const INVOCATION = /^(\/invocations|\/endpoints\/[^\/]+\/invocations)$/;
const UNITS = {
    Invocations: 'Count',
    Invocation4XXErrors: 'Count',
    Invocation5XXErrors: 'Count',
    engine_ms: 'Milliseconds',
    waited_ms: 'Milliseconds',
    total_ms: 'Milliseconds',
    bytes_in: 'Bytes',
    bytes_out: 'Bytes',
};

function line(r) {
    const v = r.variables;
    const said = {
        time: v.time_iso8601,
        status: Number(v.status), // 0 if the client left before there was one
        method: sent.text(r, 'request').split(' ')[0], // after an error, request_method is GET
        path: sent.text(r, 'request_uri').split('?')[0],
        type: sent.text(r, 'content_type'),
        bytes_in: Number(v.request_length),
        bytes_out: Number(v.bytes_sent),
        engine_ms: engine_ms(v),
        waited_ms: Number(v.waited_ms || 0),
        total_ms: ms(v.request_time),
        inference_id: sent.text(r, 'http_x_amzn_sagemaker_inference_id'),
        error: sent.text(r, 'why'),
    };
    if (v.metrics_namespace && INVOCATION.test(said.path)) {
        add_metrics(said, v);
    }
    return JSON.stringify(said);
}

function add_metrics(said, v) {
    const kind = Math.floor(said.status / 100);
    said.Invocations = 1;
    said.Invocation4XXErrors = kind === 4 ? 1 : 0;
    said.Invocation5XXErrors = kind === 5 ? 1 : 0;
    said.Dialect = v.dialect;
    const measured = Object.keys(UNITS).filter((name) => typeof said[name] === 'number');
    said._aws = {
        Timestamp: ms(v.msec),
        CloudWatchMetrics: [{
            Namespace: v.metrics_namespace,
            Dimensions: [[], ['Dialect']],
            Metrics: measured.map((name) => ({Name: name, Unit: UNITS[name]})),
        }],
    };
}

/* null for a request that reached no model server; of several attempts the last one counts. */
function engine_ms(v) {
    const tries = (v.upstream_response_time || '').split(/[,:] /);
    const last = tries[tries.length - 1].trim();
    return v.engine_ms ? Number(v.engine_ms) : /^[0-9.]+$/.test(last) ? ms(last) : null;
}

function ms(seconds) {
    return Math.round(1000 * Number(seconds));
}

export default {line};
