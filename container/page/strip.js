/* Several pictures: a row of small ones. Arrow keys move along it. */

const SIDE = 176; // pixels, for a screen that has two to each of ours

/* `pictures` have a title, a mark and perhaps an image; new ones come last. Each keeps its entry: a
   button made anew between the mouse going down and up would lose the click. `select` is called with
   the place chosen. */
export function draw_strip(list, pictures, current, select) {
    const had_focus = list.contains(document.activeElement);
    list.hidden = pictures.length < 2;
    for (const picture of pictures) {
        picture.entry ||= entry(() => select(pictures.indexOf(picture)));
    }
    fit(list, pictures.map((picture) => picture.entry));
    pictures.forEach((picture, i) => label(picture, i === current));
    const now = pictures[current]?.entry.firstChild;
    if (now && had_focus && now !== document.activeElement) {
        now.focus();
    }
}

function entry(chosen) {
    const button = document.createElement('button');
    button.type = 'button';
    button.addEventListener('click', chosen);
    const canvas = document.createElement('canvas');
    canvas.width = SIDE;
    canvas.height = SIDE * 9 / 11;
    button.append(canvas, document.createElement('span'));
    const entry = document.createElement('li');
    entry.append(button);
    return entry;
}

/* What stays is not moved. */
function fit(list, entries) {
    const wanted = new Set(entries);
    for (const gone of [...list.children].filter((there) => !wanted.has(there))) {
        gone.remove();
    }
    list.append(...entries.slice(list.children.length));
}

function label(picture, is_current) {
    const button = picture.entry.firstChild;
    const [canvas, mark] = button.children;
    button.tabIndex = is_current ? 0 : -1;
    button.setAttribute('aria-current', String(is_current));
    button.setAttribute('aria-label', `${picture.title}: ${picture.about}`);
    if (mark.textContent !== picture.mark) {
        mark.textContent = picture.mark;
    }
    if (picture.image) {
        draw_small(canvas, picture.image);
        picture.image = null; // its pixels are many
    }
}

function draw_small(canvas, image) {
    const {naturalWidth: width, naturalHeight: height} = image;
    const scale = Math.max(canvas.width / width, canvas.height / height);
    const pen = canvas.getContext('2d');
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, (canvas.width - width * scale) / 2,
        (canvas.height - height * scale) / 2, width * scale, height * scale);
}
