/* Reads the detections of one image from a TensorFlow Serving predict response, or from one of
   petbox's HTTP API. */

import {PageError} from './errors.js';

/* The highest score comes first. Boxes are fractions of the image. */
export function parse_detections(text, class_names) {
    const response = parse(text);
    if (Array.isArray(response?.detections)) {
        return response.detections.map(({id, label, score, box}) => (
            {label: id, name: label, score, ...sides(box)}));
    }
    const {
        detection_boxes: boxes,
        detection_classes: classes,
        detection_scores: scores,
        detection_names: names,
        detection_thresholds: thresholds, // From which score the model trusts each class.
        num_detections: count = boxes.length, // The entries after it are padding.
    } = prediction_in(response);
    return boxes.slice(0, count).map((box, i) => {
        const label = Math.round(classes[i]);
        const name = names?.[i] || class_names.get(label) || `class ${label}`;
        const threshold = thresholds?.[i];
        return {label, name, score: scores[i], threshold, ...sides(box)};
    }).sort((a, b) => b.score - a.score);
}

function sides(box) {
    const [top, left, bottom, right] = box.map((side) => Math.min(1, Math.max(0, side)));
    return {top, left, bottom, right};
}

function parse(text) {
    try {
        return JSON.parse(text);
    } catch (e) {
        throw new PageError('The response is not valid JSON; a score may be NaN.');
    }
}

function prediction_in(response) {
    const prediction = response?.predictions?.[0];
    const required = ['detection_boxes', 'detection_classes', 'detection_scores'];
    if (!prediction || !required.every((name) => Array.isArray(prediction[name]))) {
        throw new PageError('The response has no boxes; the model is not a detector.');
    }
    return prediction;
}
