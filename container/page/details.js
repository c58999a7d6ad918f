/* The list of what was sent and how long the response took. */

import {dimensions, duration, file_size} from './format.js';

export function show_details(list, {ms, sent, width, height, changes}) {
    list.replaceChildren();
    const add = (term, value) => {
        const [name, definition] = [document.createElement('dt'), document.createElement('dd')];
        name.textContent = term;
        definition.textContent = value;
        list.append(name, definition);
    };
    if (ms !== undefined) {
        add('Response time', duration(ms));
    }
    if (sent) {
        add('Image sent', (width ? `${dimensions(width, height)}, ` : '') + file_size(sent.size));
    }
    if (changes?.length) {
        add('Changes', changes.join(', '));
    }
}
