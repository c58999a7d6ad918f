/* One sentence about the detections, which screen readers announce. */

import {percent} from './format.js';

export function summary(detections, is_shown) {
    if (!detections.length) {
        return 'No detections in this image.';
    }
    const [best] = detections;
    if (!detections.some(is_shown)) {
        return `All scores are below the minimum. Highest: ${best.name}, ${percent(best.score)}.`;
    }
    const counts = new Map();
    for (const {name} of detections.filter(is_shown)) {
        counts.set(name, (counts.get(name) || 0) + 1);
    }
    return `${[...counts].map(([name, count]) => `${count} × ${name}`).join(', ')}.`;
}
