#!/usr/bin/python3
"""A web server for the tests, on the loopback: the files of a folder, with byte ranges, each request a line of a log.

    serve.py FOLDER LOG PORT_FILE [CUT]

The port that was free is written to PORT_FILE. While a file "cut" is in FOLDER, a body breaks off after CUT bytes.
"""
import http.server
import os
import re
import sys

folder, log, port_file = sys.argv[1:4]
cut = int(sys.argv[4]) if len(sys.argv) > 4 else 0


class Handler(http.server.BaseHTTPRequestHandler):
    def respond(self):
        try:
            data = open(folder + self.path, 'rb').read()
        except OSError:
            return self.send_error(404)
        size, span = len(data), re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        begin = int(span[1]) if span else 0
        if span and begin >= size:
            return self.send_error(416)
        self.send_response(206 if span else 200)
        self.send_header('Content-Length', str(size - begin))
        if span:
            self.send_header('Content-Range', 'bytes %d-%d/%d' % (begin, size - 1, size))
        self.end_headers()
        if self.command == 'GET':
            end = begin + cut if os.path.exists(folder + '/cut') else size
            self.wfile.write(data[begin:end])
        return None

    do_GET = do_HEAD = respond

    def log_message(self, *args):
        with open(log, 'a') as out:
            out.write('%s %s %s\n' % (self.command, self.path, self.headers.get('Range', '-') if hasattr(self, 'headers') else '-'))


server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
with open(port_file + '.new', 'w') as out:
    out.write(str(server.server_port))
os.rename(port_file + '.new', port_file)
server.serve_forever()
