/* Several pictures: a row of small ones. Arrow keys move along it. */

const SIDE = 176; // pixels, for a screen that has two to each of ours

/* `pictures` have a title, a mark and perhaps an image; `select` is called with the place chosen. */
export function draw_strip(list, pictures, current, select) {
    const had_focus = list.contains(document.activeElement);
    list.hidden = pictures.length < 2;
    list.replaceChildren(...pictures.map((picture, i) => {
        const button = document.createElement('button');
        button.type = 'button';
        button.tabIndex = i === current ? 0 : -1;
        button.setAttribute('aria-current', String(i === current));
        button.setAttribute('aria-label', `${picture.title}: ${picture.about}`);
        button.addEventListener('click', () => select(i));
        const mark = document.createElement('span');
        mark.textContent = picture.mark;
        button.append(small(picture), mark);
        const entry = document.createElement('li');
        entry.append(button);
        return entry;
    }));
    const now = list.children[current];
    if (now && had_focus) {
        now.firstChild.focus();
    }
}

function small(picture) {
    if (!picture.small) {
        const canvas = document.createElement('canvas');
        canvas.width = SIDE;
        canvas.height = SIDE * 9 / 11;
        if (!picture.image) {
            return canvas;
        }
        const {naturalWidth: width, naturalHeight: height} = picture.image;
        const scale = Math.max(canvas.width / width, canvas.height / height);
        const pen = canvas.getContext('2d');
        pen.drawImage(picture.image, (canvas.width - width * scale) / 2,
            (canvas.height - height * scale) / 2, width * scale, height * scale);
        picture.small = canvas;
        picture.image = null; // its pixels are many
    }
    return picture.small;
}
