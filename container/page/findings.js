/* The same detections as a list. Pointing at one shows its box alone; pressing it keeps it so. */

import {colour} from './boxes.js';
import {percent} from './percent.js';

/* `meant` is called with the place of the one that is meant, or with -1. */
export function list_findings(list, detections, meant) {
    let kept = -1;
    list.replaceChildren(...detections.map((found, i) => {
        const button = finding(found);
        const point = (place) => () => meant(place < 0 ? kept : place);
        button.addEventListener('mouseenter', point(i));
        button.addEventListener('mouseleave', point(-1));
        button.addEventListener('focus', point(i));
        button.addEventListener('blur', point(-1));
        button.addEventListener('click', () => {
            kept = kept === i ? -1 : i;
            for (const other of list.querySelectorAll('button')) {
                other.setAttribute('aria-pressed', String(other === button && kept === i));
            }
            meant(kept);
        });
        const entry = document.createElement('li');
        entry.append(button);
        return entry;
    }));
    meant(-1);
}

/* `hides` says of each place whether it is hidden. One that was kept is kept no longer then: its box is
   hidden, too, and all others would stay faded. */
export function hide_findings(list, hides) {
    [...list.children].forEach((entry, i) => {
        entry.hidden = hides(i);
    });
    list.querySelector('[hidden] [aria-pressed="true"]')?.click();
}

function finding(found) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = colour(found.label);
    button.setAttribute('aria-pressed', 'false');
    const name = document.createElement('span');
    name.textContent = found.name;
    const score = document.createElement('span');
    score.className = 'score';
    score.textContent = percent(found.score);
    button.append(name, ' ', score);
    return button;
}
