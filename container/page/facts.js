/* How long the answer took and what was sent, as a list of terms. */

export function list_facts(list, picture) {
    list.replaceChildren();
    const add = (term, value) => {
        const [name, said] = [document.createElement('dt'), document.createElement('dd')];
        name.textContent = term;
        said.textContent = value;
        list.append(name, said);
    };
    if (picture.ms !== undefined) {
        add('Answered in', duration(picture.ms));
    }
    if (picture.sent) {
        const pixels = picture.width ? `${picture.width} × ${picture.height}, ` : '';
        add('Picture sent', pixels + size(picture.sent.size));
    }
    if (picture.changes && picture.changes.length) {
        add('Changed', picture.changes.join(', '));
    }
}

function duration(ms) {
    return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function size(bytes) {
    return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
