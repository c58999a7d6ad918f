/* The row of thumbnails, shown for two images or more. */

const WIDTH = 176; // twice the size in images.css, for high-density screens

/* New images come last. Each image keeps its element, because replacing a button between mouse down
   and mouse up would lose the click. */
export function show_thumbnails(list, images, current, is_shown, select) {
    const had_focus = list.contains(document.activeElement);
    list.hidden = images.length < 2;
    for (const image of images) {
        image.thumbnail ||= thumbnail(() => select(images.indexOf(image)));
    }
    update_children(list, images.map((image) => image.thumbnail));
    images.forEach((image, i) => update(image, i === current, is_shown));
    if (had_focus) {
        images[current]?.thumbnail.firstChild.focus();
    }
}

function thumbnail(on_click) {
    const button = document.createElement('button');
    button.type = 'button';
    button.addEventListener('click', on_click);
    const canvas = document.createElement('canvas');
    canvas.width = WIDTH;
    canvas.height = WIDTH * 9 / 11;
    button.append(canvas, document.createElement('span'));
    const entry = document.createElement('li');
    entry.append(button);
    return entry;
}

/* Does not move the elements that stay. */
function update_children(list, entries) {
    for (const removed of [...list.children].filter((child) => !entries.includes(child))) {
        removed.remove();
    }
    list.append(...entries.slice(list.children.length));
}

function update(image, is_current, is_shown) {
    const {state, result, title} = image;
    const count = (result.detections || []).filter(is_shown).length;
    const [badge, description] = {
        failed: ['!', 'failed'],
        done: [String(count), `${count} detected`],
    }[state] || ['…', state];
    const button = image.thumbnail.firstChild;
    const [canvas, badge_element] = button.children;
    button.tabIndex = is_current ? 0 : -1;
    button.setAttribute('aria-current', String(is_current));
    button.setAttribute('aria-label', `${title}: ${description}`);
    badge_element.textContent = badge;
    if (result.decoded) {
        draw(canvas, result.decoded);
        result.decoded = null; // Frees the memory of its pixels.
    }
}

function draw(canvas, image) {
    const {naturalWidth: width, naturalHeight: height} = image;
    const scale = Math.max(canvas.width / width, canvas.height / height);
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, (canvas.width - width * scale) / 2,
        (canvas.height - height * scale) / 2, width * scale, height * scale);
}
