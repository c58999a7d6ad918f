/* An image file as the tensor of a model of pixels, [height][width][channel]. */

import {PageError} from './errors.js';

const LARGEST = 512; // pixels of the longer side, where the model takes images of any size

/* Whether a tensor may be images: [N, height, width, 1, 3 or 4], of numbers. */
export function is_image_tensor({dtype, shape}) {
    return /^(float|u?int)(8|16|32|64)$/.test(dtype) && shape?.length === 4 &&
        [1, 3, 4].includes(shape[3]);
}

/* `scale` turns a value from 0 to 255 into one for the model. */
export async function pixels(file, [, rows, columns, channels], scale) {
    const image = await createImageBitmap(file).catch(() => {
        throw new PageError(`${file.name} is not an image that this browser can decode.`);
    });
    const shrunk = Math.min(1, LARGEST / Math.max(image.width, image.height));
    const width = columns ?? Math.max(1, Math.round(image.width * shrunk));
    const height = rows ?? Math.max(1, Math.round(image.height * shrunk));
    const canvas = document.createElement('canvas');
    Object.assign(canvas, {width, height});
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(image, 0, 0, width, height);
    const {data} = context.getImageData(0, 0, width, height);
    const pixel = (at) => {
        const [red, green, blue, alpha] = data.subarray(at, at + 4);
        const values = channels === 1 ? [Math.round(0.299 * red + 0.587 * green + 0.114 * blue)] :
            [red, green, blue, alpha].slice(0, channels);
        return values.map(scale);
    };
    return Array.from({length: height}, (_, y) =>
        Array.from({length: width}, (_, x) => pixel(4 * (y * width + x))));
}
