/* Turns a file into the image that is sent and the image that is shown. A file is sent byte for
   byte unless it must be rotated upright, shrunk, or converted to a format that the model decodes.
   Both images have the same pixels, so that boxes line up. */

import {encode} from './canvas.js';
import {PageError} from './errors.js';
import {file_type} from './file_types.js';
import {dimensions} from './format.js';
import {is_rotated} from './orientation.js';

export const MAX_SIDE = 1600; // pixels of a shrunk image's longer side
const MAY_BE_ANIMATED = ['image/gif', 'image/webp'];

export async function prepare(file, shrink) {
    const bytes = await read(file);
    const type = file_type(bytes);
    const original = type ? new Blob([bytes], {type}) : file;
    const decoded = await decode(original);
    if (!decoded) {
        if (!type) {
            throw new PageError(`${file.name} is not an image that the model or this browser ` +
                'can decode. Save it as JPEG or PNG.');
        }
        return {sent: original, name: file.name, changes: []}; // The model reports the error.
    }
    const {naturalWidth: width, naturalHeight: height} = decoded;
    const longer_side = Math.max(width, height);
    const scale = shrink ? Math.min(1, MAX_SIDE / longer_side) : 1;
    const changes = [
        scale < 1 && `shrunk from ${dimensions(width, height)}`,
        type && is_rotated(bytes) && 'rotated upright',
        !type && 'converted to JPEG',
    ].filter(Boolean);
    const prepared = {decoded, longer_side, changes};
    if (!changes.length) {
        const shown = MAY_BE_ANIMATED.includes(type) ? // The model uses the first frame.
            await encode(decoded, width, height, 'image/png') : original;
        return {...prepared, sent: original, shown, name: file.name, width, height};
    }
    const size = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
    const [new_type, extension] = type === 'image/png' ? [type, 'png'] : ['image/jpeg', 'jpg'];
    const sent = await encode(decoded, ...size, new_type);
    const name = `${file.name.replace(/\.[^.]*$/, '')}-as-sent.${extension}`;
    return {...prepared, sent, shown: sent, name, width: size[0], height: size[1]};
}

async function read(file) {
    try {
        return new Uint8Array(await file.arrayBuffer());
    } catch (e) {
        throw new PageError(`${file.name} cannot be read. ` +
            'If it is a folder, choose the images in it.');
    }
}

/* null if the browser cannot decode it. */
function decode(blob) {
    const image = new Image();
    return new Promise((resolve) => {
        image.onload = image.onerror = () => resolve(image.naturalWidth ? image : null);
        image.src = URL.createObjectURL(blob);
    }).finally(() => URL.revokeObjectURL(image.src));
}
