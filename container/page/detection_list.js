/* The list of detections. Hovering or focusing an entry highlights its box; a click pins it. */

import {color_class} from './boxes.js';
import {percent} from './format.js';

/* Calls `highlight` with the index of a detection, or with -1 for none. */
export function list_detections(list, detections, highlight) {
    let pinned = -1;
    list.replaceChildren(...detections.map((detection, i) => {
        const button = entry_button(detection);
        for (const event of ['mouseenter', 'focus']) {
            button.addEventListener(event, () => highlight(i));
        }
        for (const event of ['mouseleave', 'blur']) {
            button.addEventListener(event, () => highlight(pinned));
        }
        button.addEventListener('click', () => {
            pinned = pinned === i ? -1 : i;
            for (const other of list.querySelectorAll('button')) {
                other.setAttribute('aria-pressed', String(other === button && pinned === i));
            }
            highlight(pinned);
        });
        const entry = document.createElement('li');
        entry.append(button);
        return entry;
    }));
    highlight(-1);
}

/* Unpins a hidden entry: its box is hidden as well, and all others would stay faded. */
export function hide_detections(list, is_hidden) {
    [...list.children].forEach((entry, i) => {
        entry.hidden = is_hidden(i);
    });
    list.querySelector('[hidden] [aria-pressed="true"]')?.click();
}

function entry_button({label, name, score}) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = color_class(label);
    button.setAttribute('aria-pressed', 'false');
    const score_element = document.createElement('span');
    score_element.className = 'score';
    score_element.textContent = percent(score);
    button.append(name, ' ', score_element);
    return button;
}
