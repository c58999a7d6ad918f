/* What the model said, as detections: TensorFlow Serving's predict answer for one picture. */

import {Trouble} from './trouble.js';

/* The surest first. Boxes are fractions of the picture. */
export function detections(text, names) {
    const found = prediction(text);
    const rows = found.detection_boxes.map((box, i) => ({
        label: Math.round(found.detection_classes[i]),
        name: name_of(found, i, names),
        score: found.detection_scores[i],
        top: within(box[0]),
        left: within(box[1]),
        bottom: within(box[2]),
        right: within(box[3]),
    }));
    const count = found.num_detections === undefined ? rows.length : found.num_detections;
    return rows.slice(0, count).sort((a, b) => b.score - a.score); // the rest is filler
}

function prediction(text) {
    let answer;
    try {
        answer = JSON.parse(text);
    } catch (e) {
        throw new Trouble('The response is not valid JSON (a score may be NaN). It can still be copied.');
    }
    const found = answer && answer.predictions && answer.predictions[0];
    const wanted = ['detection_boxes', 'detection_classes', 'detection_scores'];
    if (!found || !wanted.every((name) => Array.isArray(found[name]))) {
        throw new Trouble('The response has no boxes: the model is not a detector. See its JSON.');
    }
    return found;
}

function name_of(found, i, names) {
    const label = Math.round(found.detection_classes[i]);
    const said = found.detection_names && found.detection_names[i];
    return said || names.get(label) || `class ${label}`;
}

function within(fraction) {
    return Math.min(1, Math.max(0, fraction));
}
