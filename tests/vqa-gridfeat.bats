#!/usr/bin/env bats
load helper

@test "manners" {
	manners vqa-gridfeat
}

@test "ten columns, 36 regions, boxes of the grid" {
	cp "$GOLDEN"/easy-vqa/images/0.png .
	vqa-gridfeat 0.png >rows
	[ "$(awk -F '\t' '{ print NF }' rows)" = 10 ]
	/usr/bin/python3 - <<-'END'
		import base64, struct
		c = open('rows').read().rstrip('\n').split('\t')
		assert c[:3] == ['0', '64', '64'] and c[7] == '36', c[:3]
		boxes = struct.unpack('<144f', base64.b64decode(c[8]))
		assert boxes[0] == 0 and abs(boxes[143] - 64) < 1e-4
		features = struct.unpack('<%df' % (36 * 360), base64.b64decode(c[9]))
		assert all(abs(x) < 10 for x in features) and any(abs(x) > 1 for x in features)
	END
}

# A picture and the same twice as large have the same features: nothing depends on the number of pixels.
@test "twice the size gives the same features" {
	/usr/bin/python3 - <<-'END'
		import struct, zlib
		def png(path, k):
		    side = 32 * k
		    rows = b''.join(b'\0' + b''.join(bytes((200, 40, 10)) if 8 <= x // k < 20 and 10 <= y // k < 16 else bytes((240, 250, 245))
		                    for x in range(side)) for y in range(side))
		    chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
		    open(path, 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)) +
		                           chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
		png('small.png', 2); png('large.png', 4)
	END
	vqa-gridfeat small.png large.png >rows
	/usr/bin/python3 - <<-'END'
		import base64, struct
		a, b = (struct.unpack('<%df' % (36 * 360), base64.b64decode(r.split('\t')[9])) for r in open('rows').read().splitlines())
		colours = [abs(x - y) for i, (x, y) in enumerate(zip(a, b)) if i % 360 < 192]
		assert max(colours) < 1e-4, max(colours)
	END
}

@test "names on stdin are the same as operands" {
	vqa-gridfeat "$GOLDEN"/easy-vqa/images/*.png >operands
	printf '%s\n' "$GOLDEN"/easy-vqa/images/*.png | vqa-gridfeat - >listed
	cmp operands listed
}

@test "what is no PNG" {
	echo text >t.png
	fails_with 1 'vqa-gridfeat: t.png: not a PNG: Read Error' vqa-gridfeat t.png
	head -c 100 "$GOLDEN"/easy-vqa/images/0.png >cut.png
	fails_with 1 'vqa-gridfeat: cut.png: not a whole PNG: Read Error' vqa-gridfeat cut.png
	fails_with 1 'vqa-gridfeat: none.png: cannot open: No such file or directory' vqa-gridfeat none.png
}

@test "a picture of absurd size is refused before it is decoded" {
	/usr/bin/python3 - <<-'END'
		import struct, zlib
		d = struct.pack('>IIBBBBB', 100000, 100000, 8, 2, 0, 0, 0)
		open('huge.png', 'wb').write(b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + b'IHDR' + d + struct.pack('>I', zlib.crc32(b'IHDR' + d)))
	END
	run -1 vqa-gridfeat huge.png
}

@test "a full disk" {
	fails_with 1 'vqa-gridfeat: stdout: cannot write: No space left on device' \
		bash -c 'vqa-gridfeat "$GOLDEN"/easy-vqa/images/0.png >/dev/full'
}

@test "a large picture of one colour has no contrast" {
	/usr/bin/python3 - <<-'END'
		import struct, zlib
		def chunk(kind, data):
		    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
		side = 2000
		rows = (b"\0" + bytes([200, 3, 77]) * side) * side
		open("flat.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
		                             chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
	END
	vqa-gridfeat flat.png | cut -f 10 | base64 -d >features
	/usr/bin/python3 - <<-'END'
		import array
		x = array.array("f", open("features", "rb").read())
		assert len(x) == 36 * 360 and max(map(abs, x)) < 1e-6, max(map(abs, x))
	END
}
