/* application/x-image: the content type and response format of SageMaker's built-in algorithm "Object
   Detection - TensorFlow". Boxes are xmin, ymin, xmax, ymax, as AWS's notebooks read them; its
   documentation has another order. */

import engine from 'engine.js';
import pictures from 'pictures.js';
import refusals from 'refusals.js';

async function answer(r) {
    const wanted = parameters(r.headersIn.Accept || '');
    if (!wanted) {
        return refusals.fail(r, 400, 'Accept: n_predictions must be a whole number above 0');
    }
    const reply = await detections(r);
    if (!reply) {
        return;
    }
    if (reply.status !== 200) {
        return engine.pass_on(r, reply);
    }
    const found = prediction(reply.responseText);
    if (!found) {
        return refusals.fail(r, 500, 'the response has NaN or Infinity, which JSON does not allow; ' +
            'send the image as image/jpeg to see it');
    }
    if (!found.detection_boxes) {
        return refusals.fail(r, 415, 'Content-Type application/x-image: this model is not a ' +
            'detector, it returns no detection_boxes; send the image with its own content type');
    }
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, JSON.stringify(rewritten(found, wanted)));
}

/* From the signature with names, or from the default one in third-party models. */
async function detections(r) {
    const named = await pictures.ask(r, 'detect');
    return named && pictures.lacks(named, 'detect') ? pictures.ask(r) : named;
}

function prediction(text) {
    try {
        return JSON.parse(text).predictions[0];
    } catch (e) {
        return null;
    }
}

function rewritten(found, wanted) {
    const scores = found.detection_scores;
    const best = found.detection_boxes.map((_, i) => i)
        .slice(0, found.num_detections) // the rest is padding
        .sort((a, b) => scores[b] - scores[a])
        .slice(0, wanted.most);
    const form = {
        normalized_boxes: best.map((i) => upended(found.detection_boxes[i])),
        classes: best.map((i) => found.detection_classes[i]),
        scores: best.map((i) => scores[i]),
    };
    if (wanted.labels) {
        form.labels = labels(best, found);
    }
    return form;
}

/* Clients use the class number as index into the list. */
function labels(best, found) {
    const names = [];
    best.forEach((i) => {
        const label = found.detection_classes[i];
        while (names.length <= label) {
            names.push('');
        }
        names[label] = found.detection_names ? found.detection_names[i] : String(label);
    });
    return names;
}

function upended(box) {
    return [box[1], box[0], box[3], box[2]];
}

/* application/json;verbose;n_predictions=5 */
function parameters(accept) {
    const words = accept.toLowerCase().split(/[;,]/).map((word) => word.trim());
    const most = words.find((word) => word.startsWith('n_predictions'));
    if (most && !/^n_predictions *= *0*[1-9][0-9]{0,8}$/.test(most)) {
        return null;
    }
    return {labels: words.includes('verbose'), most: most && Number(most.split('=')[1])};
}

export default {answer};
