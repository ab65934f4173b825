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

# png FILE WIDTH HEIGHT 'EXPRESSION': a picture whose pixel x, y is (red, green, blue) = EXPRESSION.
png() {
	/usr/bin/python3 - "$@" <<-'END'
		import struct, sys, zlib
		path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		pixel = eval('lambda x, y: ' + sys.argv[4])
		rows = b''.join(b'\0' + b''.join(bytes(pixel(x, y)) for x in range(width)) for y in range(height))
		chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
		open(path, 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)) +
		                       chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
	END
}

# A picture and the same twice as large have the same colours: nothing depends on the number of pixels. (Histograms may differ: where
# a gradient is rounding alone it has any direction.)
@test "twice the size gives the same colours" {
	local shape='(200, 40, 10) if 8 <= x // k < 20 and 10 <= y // k < 16 else (240, 250, 245)'
	png small.png 64 64 "${shape//k/2}"
	png large.png 128 128 "${shape//k/4}"
	vqa-gridfeat small.png large.png >rows
	/usr/bin/python3 - <<-'END'
		import base64, struct
		a, b = (struct.unpack('<%df' % (36 * 360), base64.b64decode(r.split('\t')[9])) for r in open('rows').read().splitlines())
		colours = [abs(x - y) for i, (x, y) in enumerate(zip(a, b)) if i % 360 < 192]
		assert max(colours) < 1e-4, max(colours)
	END
}

# A picture of 96 x 96 whose windows of 48 x 48 are 16 x 16 blocks of 3 x 3 pixels, on the grid where a window's left and top are
# whole pixels. Each number of each window, computed again from what grid.h says.
@test "every number is what its definition says" {
	local picture='((x * x // 7 + 3 * y) % 256, (5 * x + y * y // 5 + x * y // 9) % 256, (x * y // 3 + 11) % 256)'
	png any.png 96 96 "$picture"
	vqa-gridfeat any.png >row
	/usr/bin/python3 - "$picture" <<-'END'
		import base64, math, struct, sys
		pixel = eval('lambda x, y: ' + sys.argv[1])
		side, cell, wide = 96, 16, 48
		features = struct.unpack('<%df' % (36 * 360), base64.b64decode(open('row').read().rstrip('\n').split('\t')[9]))
		edge = lambda i, n: min(max(i, 0), n - 1)
		mean = [sum(pixel(x, y)[c] for y in range(side) for x in range(side)) / side ** 2 / 255 for c in range(3)]
		worst = 0
		for r in range(36):
		    left, top = (r % 6 * cell + cell // 2 - wide // 2, r // 6 * cell + cell // 2 - wide // 2)
		    w = [[[sum(pixel(edge(left + 3 * x + i % 3, side), edge(top + 3 * y + i // 3, side))[c] for i in range(9)) / 9 / 255
		           for c in range(3)] for x in range(16)] for y in range(16)]
		    want = [2 * (sum(w[2 * y + i // 2][2 * x + i % 2][c] for i in range(4)) / 4 - mean[c])
		            for y in range(8) for x in range(8) for c in range(3)]
		    for n in 1, 2, 4:
		        bins = [0.0] * (n * n * 8)
		        for y in range(16):
		            for x in range(16):
		                steps = [(w[y][edge(x + 1, 16)][c] - w[y][edge(x - 1, 16)][c], w[edge(y + 1, 16)][x][c] - w[edge(y - 1, 16)][x][c])
		                         for c in range(3)]
		                dx, dy = max(steps, key=lambda s: s[0] ** 2 + s[1] ** 2)
		                turn = math.atan2(dy, dx) % math.pi / math.pi * 8
		                at = (y * n // 16 * n + x * n // 16) * 8
		                low = int(turn)
		                bins[at + low % 8] += math.hypot(dx, dy) * (1 - (turn - low))
		                bins[at + (low + 1) % 8] += math.hypot(dx, dy) * (turn - low)
		        norm = math.sqrt(1e-4 + sum(b * b for b in bins))
		        want += [4 * b / norm for b in bins]
		    ours = features[360 * r:360 * r + 360]
		    worst = max(worst, max((abs(x - y), r, i) for i, (x, y) in enumerate(zip(ours, want)))[0])
		# float32 sums of 9 pixels and of 256 gradients, on numbers up to 4.
		assert worst < 1e-4, worst
	END
}

# The mean of four million pixels is the colour itself, not what float32 makes of so long a sum.
@test "a large picture of one colour has no colours of its own" {
	/usr/bin/python3 - <<-'END'
		import struct, zlib
		chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
		open('flat.png', 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 2000, 2000, 8, 2, 0, 0, 0)) +
		                             chunk(b'IDAT', zlib.compress((b'\0' + bytes((200, 40, 10)) * 2000) * 2000)) + chunk(b'IEND', b''))
	END
	vqa-gridfeat flat.png >row
	/usr/bin/python3 - <<-'END'
		import base64, struct
		features = struct.unpack('<%df' % (36 * 360), base64.b64decode(open('row').read().rstrip('\n').split('\t')[9]))
		colours = max(abs(x) for i, x in enumerate(features) if i % 360 < 192)
		# A few roundings of numbers up to 1.
		assert colours < 1e-6, colours
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

@test "rows of some of the pictures are not taken for those of all" {
	printf '%s\n' "$GOLDEN"/easy-vqa/images/[01].png none.png >names
	xargs -d '\n' vqa-gridfeat <names >operands 2>said || true
	grep -qxF 'vqa-gridfeat: none.png: cannot open: No such file or directory' said
	run -1 bash -c 'vqa-gridfeat - <names >listed'
	cmp operands listed
	head -n 2 listed | cmp - <(vqa-gridfeat "$GOLDEN"/easy-vqa/images/[01].png)
	fails_with 1 'vqa-featpack: listed:3: the last line breaks off without a newline' vqa-featpack listed store
	echo text >t.png
	vqa-gridfeat t.png >none 2>said || true
	[ ! -s none ]
}

@test "a picture of absurd size is refused before it is decoded" {
	/usr/bin/python3 - <<-'END'
		import struct, zlib
		chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
		open('huge.png', 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 100000, 100000, 8, 2, 0, 0, 0)) +
		                             chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b''))
	END
	fails_with 1 'vqa-gridfeat: huge.png: a picture of 100000 x 100000 pixels, expected at most 16384 a side and 67108864 in all' \
		vqa-gridfeat huge.png
}

@test "a full disk" {
	fails_with 1 'vqa-gridfeat: stdout: cannot write: No space left on device' \
		bash -c 'vqa-gridfeat "$GOLDEN"/easy-vqa/images/0.png >/dev/full'
}
