/* Encodes what a browser shows, an image or a video frame, as a file. */

import {PageError} from './errors.js';
import {dimensions} from './format.js';

export async function encode(source, width, height, type) {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(source, 0, 0, width, height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
    if (!blob) {
        throw new PageError(`${dimensions(width, height)} pixels are too many for this browser. ` +
            'Shrink the image first.');
    }
    return blob;
}
