/* A file becomes what is sent and what is shown. It goes as it is where it can; it is drawn anew where
   it must be turned upright, where it shall be smaller, and where the model could not read it. What
   is shown has the pixels that the model is given, so that boxes fall where they are seen. */

import {type_of} from './kinds.js';
import {Trouble} from './trouble.js';
import {may_be_turned} from './upright.js';

export const LONGEST = 1600; // pixels of a shrunk photo's longer side
const MAY_MOVE = ['image/gif', 'image/webp']; // the model looks at the first frame

export async function prepare(file, shrink) {
    const bytes = await read(file);
    const type = type_of(bytes);
    const whole = type ? new Blob([bytes], {type: type}) : file;
    const image = await decoded(whole);
    if (!image) {
        if (!type) {
            throw new Trouble(`${file.name} is no picture that the model or this browser can read. ` +
                'Save it as JPEG or PNG.');
        }
        return {sent: whole, name: file.name, changes: []}; // the model knows better why
    }
    const size = {width: image.naturalWidth, height: image.naturalHeight};
    const longest = Math.max(size.width, size.height);
    const scale = shrink ? Math.min(1, LONGEST / longest) : 1;
    const prepared = {name: file.name, image: image, longest: longest, changes: []};
    const changes = prepared.changes;
    if (scale < 1) {
        changes.push(`shrunk from ${size.width} × ${size.height}`);
    }
    if (type && may_be_turned(bytes)) {
        changes.push('turned upright');
    }
    if (!type) {
        changes.push('made a JPEG');
    }
    if (!changes.length) {
        const shown = MAY_MOVE.includes(type) ? await drawn(image, size, 'image/png') : whole;
        return {...prepared, sent: whole, shown: shown, ...size};
    }
    const less = {width: scaled(size.width, scale), height: scaled(size.height, scale)};
    const kept = type === 'image/png' ? type : 'image/jpeg';
    const sent = await drawn(image, less, kept);
    return {...prepared, sent: sent, shown: sent, name: renamed(file.name, kept), ...less};
}

async function read(file) {
    try {
        return new Uint8Array(await file.arrayBuffer());
    } catch (e) {
        throw new Trouble(`${file.name} cannot be read. A folder? Choose the pictures in it.`);
    }
}

/* null if the browser cannot show it. */
function decoded(blob) {
    const address = URL.createObjectURL(blob);
    const image = new Image();
    return new Promise((done) => {
        const end = () => {
            URL.revokeObjectURL(address);
            done(image.naturalWidth ? image : null);
        };
        image.onload = end;
        image.onerror = end;
        image.src = address;
    });
}

/* As the browser shows it: upright. */
async function drawn(image, size, type) {
    const canvas = document.createElement('canvas');
    canvas.width = size.width;
    canvas.height = size.height;
    const pen = canvas.getContext('2d');
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(image, 0, 0, size.width, size.height);
    const blob = await new Promise((done) => canvas.toBlob(done, type, 0.92));
    if (!blob) {
        throw new Trouble(`${size.width} × ${size.height} pixels are too many for this browser. ` +
            'Scale the picture down.');
    }
    return blob;
}

function scaled(pixels, scale) {
    return Math.max(1, Math.round(pixels * scale));
}

function renamed(name, type) {
    return `${name.replace(/\.[^.]*$/, '')}-as-sent.${type === 'image/png' ? 'png' : 'jpg'}`;
}
