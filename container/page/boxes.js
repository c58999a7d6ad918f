/* Draws boxes over the image. Positions are percentages, so that boxes scale with the image. */

import {percent} from './format.js';

const COLORS = 8; // .c0 to .c7 in images.css
const TOP_EDGE = 0.08; // A box that starts above this has no room for its label outside.
const RIGHT_EDGE = 0.6; // A box that starts beyond this has its label aligned right.

export function color_class(label) {
    return `c${((label % COLORS) + COLORS) % COLORS}`;
}

/* Draws one element for each detection, in their order. */
export function draw_boxes(parent, detections) {
    parent.replaceChildren(...detections.map(box));
}

function box({label, name, score, top, left, bottom, right}) {
    const element = document.createElement('div');
    element.classList.add('box', color_class(label));
    element.classList.toggle('label-inside', top < TOP_EDGE);
    element.classList.toggle('label-right', left > RIGHT_EDGE);
    element.style.left = `${100 * left}%`;
    element.style.top = `${100 * top}%`;
    element.style.width = `${100 * (right - left)}%`;
    element.style.height = `${100 * (bottom - top)}%`;
    const text = document.createElement('span');
    text.textContent = `${name} ${percent(score)}`;
    element.append(text);
    return element;
}
