/* One sentence about the detections, which screen readers announce. */

import {percent} from './format.js';

export function summary(detections, min_score) {
    if (!detections.length) {
        return 'No detections in this image.';
    }
    const [best] = detections;
    if (best.score < min_score) {
        return `All scores are below the minimum. Highest: ${best.name}, ${percent(best.score)}.`;
    }
    const counts = new Map();
    for (const {name} of detections.filter((detection) => detection.score >= min_score)) {
        counts.set(name, (counts.get(name) || 0) + 1);
    }
    return `${[...counts].map(([name, count]) => `${count} × ${name}`).join(', ')}.`;
}
