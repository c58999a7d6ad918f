/* One sentence on what was found, which a screen reader says as well. */

import {percent} from './percent.js';

export function summary(detections, least) {
    const sure = detections.filter((found) => found.score >= least);
    if (!detections.length) {
        return 'The model found nothing in this picture.';
    }
    if (!sure.length) {
        return `Nothing reaches this score. The highest is ${detections[0].name}, ${percent(detections[0].score)}.`;
    }
    const counts = new Map();
    for (const found of sure) {
        counts.set(found.name, (counts.get(found.name) || 0) + 1);
    }
    return `${[...counts].map(([name, count]) => `${count} × ${name}`).join(', ')}.`;
}
