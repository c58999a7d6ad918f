/* The boxes over the picture, in fractions of it, so that they stay in place whatever its size. */

import {percent} from './percent.js';

const COLOURS = 8;
const HIGH = 0.08; // above it there is no room for the name
const RIGHT = 0.6; // from here on the name ends with the box

export function colour(label) {
    return `c${((label % COLOURS) + COLOURS) % COLOURS}`;
}

/* One element for each detection, in their order. */
export function draw_boxes(frame, detections) {
    frame.replaceChildren(...detections.map(box));
}

function box(found) {
    const element = document.createElement('div');
    element.classList.add('box', colour(found.label));
    element.classList.toggle('high', found.top < HIGH);
    element.classList.toggle('right', found.left > RIGHT);
    element.style.left = share(found.left);
    element.style.top = share(found.top);
    element.style.width = share(found.right - found.left);
    element.style.height = share(found.bottom - found.top);
    const name = document.createElement('span');
    name.textContent = `${found.name} ${percent(found.score)}`;
    element.append(name);
    return element;
}

function share(fraction) {
    return `${100 * fraction}%`;
}
