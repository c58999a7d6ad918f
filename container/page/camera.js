/* Takes a photo: in a dialog, or on pages over plain HTTP with the phone's camera app. */

import {encode} from './canvas.js';

const CONSTRAINTS = {video: {facingMode: 'environment', width: {ideal: 1920}}};
const ERRORS = {
    NotAllowedError: 'Camera access was denied. Allow it in the browser\'s address bar.',
    NotFoundError: 'No camera was found. Choose an image instead.',
    NotReadableError: 'Another program is using the camera. Close it and try again.',
};

/* Returns the function that opens the camera; `add` is called with the file. */
export function camera(dialog, camera_app, add) {
    const [preview, status, take_photo, close] =
        ['#preview', '#camera-status', '#take-photo', '#close-camera']
            .map((id) => dialog.querySelector(id));
    let photos = 0;
    let sessions = 0;

    async function open() {
        if (!navigator.mediaDevices) { // Browsers have it only over HTTPS and on localhost.
            camera_app.click();
            return;
        }
        release(); // The previous session's close event may still be queued.
        status.textContent = 'Waiting for the camera…';
        take_photo.disabled = true;
        dialog.showModal();
        sessions += 1;
        const session = sessions;
        const is_closed = () => session !== sessions || !dialog.open;
        try {
            const stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
            if (is_closed()) {
                stop(stream);
                return;
            }
            preview.srcObject = stream;
            await preview.play();
            if (!is_closed()) {
                status.textContent = '';
                take_photo.disabled = false;
                take_photo.focus();
            }
        } catch (e) {
            if (!is_closed()) {
                status.textContent = ERRORS[e.name] || `The camera failed: ${e.message}`;
            }
        }
    }

    function release() {
        if (preview.srcObject) {
            stop(preview.srcObject);
        }
        preview.srcObject = null;
    }

    async function shoot() {
        const {videoWidth: width, videoHeight: height} = preview;
        const blob = await encode(preview, width, height, 'image/jpeg');
        dialog.close();
        photos += 1;
        add(new File([blob], `camera-${photos}.jpg`));
    }

    take_photo.addEventListener('click', shoot);
    close.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => dialog.open || release());
    return open;
}

function stop(stream) {
    for (const track of stream.getTracks()) {
        track.stop();
    }
}
