-- Unpacks gzip with a limit: 90 kB can unpack to 95 MB, of which a model server makes gigabytes.

local ffi = require "ffi"

ffi.cdef [[
typedef struct {
    const char *next_in; unsigned avail_in; unsigned long total_in;
    char *next_out; unsigned avail_out; unsigned long total_out;
    const char *msg; void *state; void *zalloc; void *zfree; void *opaque;
    int data_type; unsigned long adler; unsigned long reserved;
} gateway_z_stream;
int inflateInit2_(gateway_z_stream *, int window_bits, const char *version, int size);
int inflate(gateway_z_stream *, int flush);
int inflateEnd(gateway_z_stream *);
]]

local zlib = ffi.C -- nginx is linked with it
local GZIP = 15 + 16 -- window bits, and 16 for the format
local BUFFER = 65536
local PAUSE_EVERY = 16 -- buffers, so that other requests are handled in between

-- The unpacked text; nil if it is longer than `most` bytes. What follows an error is left out: the
-- model server will not get further either.
return function(packed, most)
    local stream, buffer = ffi.new "gateway_z_stream", ffi.new("char[?]", BUFFER)
    zlib.inflateInit2_(stream, GZIP, "1", ffi.sizeof(stream))
    ffi.gc(stream, zlib.inflateEnd)
    stream.next_in, stream.avail_in = packed, #packed
    local parts, size, result = {}, 0, nil
    repeat
        stream.next_out, stream.avail_out = buffer, BUFFER
        result = zlib.inflate(stream, 0)
        parts[#parts + 1] = ffi.string(buffer, BUFFER - stream.avail_out)
        size = size + #parts[#parts]
        if #parts % PAUSE_EVERY == 0 then ngx.sleep(0.001) end
    until result ~= 0 or size > most or stream.avail_in == 0 and stream.avail_out > 0
    return size <= most and table.concat(parts) or nil
end
