"""A GStreamer peer: registers, calls another one, sends it moving pictures and sound, and counts what comes back.

usage: gst_peer.py URL OWN_UID PEER_UID; prints one line per event, and `received N` every half second.
"""
import asyncio
import json
import ssl
import sys

import gi

gi.require_version('Gst', '1.0')
gi.require_version('GstWebRTC', '1.0')
gi.require_version('GstSdp', '1.0')
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402
import websockets  # noqa: E402

PIPELINE = '''
webrtcbin name=peer bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! videoconvert ! queue !
  vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay ! application/x-rtp,media=video,encoding-name=VP8,payload=97 ! peer.
audiotestsrc is-live=true wave=sine ! audioconvert ! audioresample ! queue !
  opusenc ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=96 ! peer.
'''


class Peer:
    def __init__(self, connection):
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.received = 0
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.webrtc = self.pipeline.get_by_name('peer')
        self.webrtc.connect('on-negotiation-needed', self.offer)
        self.webrtc.connect('on-ice-candidate', self.candidate)
        self.webrtc.connect('pad-added', self.incoming)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def stop(self):
        self.pipeline.set_state(Gst.State.NULL)

    # The next three are called by threads of GStreamer.
    def offer(self, _):
        self.webrtc.emit('create-offer', None, Gst.Promise.new_with_change_func(self.offered, None, None))

    def offered(self, promise, _first, _second):
        # The offer is a part of the reply, and gone with it.
        reply = promise.get_reply()
        offer = reply.get_value('offer')
        done = Gst.Promise.new()
        self.webrtc.emit('set-local-description', offer, done)
        done.interrupt()
        self.send({'sdp': {'type': 'offer', 'sdp': offer.sdp.as_text()}})

    def candidate(self, _, line, candidate):
        self.send({'ice': {'candidate': candidate, 'sdpMLineIndex': line}})

    def incoming(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        sink = Gst.ElementFactory.make('fakesink')
        sink.set_property('signal-handoffs', True)
        sink.set_property('sync', False)
        sink.connect('handoff', self.count)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad('sink'))
        print('incoming', pad.get_current_caps().get_structure(0).get_string('media'), flush=True)

    def count(self, *_):
        self.received += 1

    def send(self, message):
        asyncio.run_coroutine_threadsafe(self.connection.send(json.dumps(message)), self.loop)

    def take(self, message):
        if 'sdp' in message:
            _, sdp = GstSdp.SDPMessage.new()
            GstSdp.sdp_message_parse_buffer(message['sdp']['sdp'].encode(), sdp)
            answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
            self.webrtc.emit('set-remote-description', answer, Gst.Promise.new())
        elif 'ice' in message and message['ice'].get('candidate'):
            self.webrtc.emit('add-ice-candidate', message['ice']['sdpMLineIndex'], message['ice']['candidate'])

    async def tell(self):
        while True:
            await asyncio.sleep(0.5)
            print('received', self.received, flush=True)


async def main(url, uid, other):
    Gst.init(None)
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with websockets.connect(url, ssl=trusting) as connection:
        await connection.send(f'HELLO {uid}')
        assert await connection.recv() == 'HELLO'
        await connection.send(f'SESSION {other}')
        assert await connection.recv() == 'SESSION_OK'
        print('session', flush=True)
        peer = Peer(connection)
        peer.start()
        telling = asyncio.create_task(peer.tell())
        try:
            async for text in connection:
                peer.take(json.loads(text))
        except websockets.ConnectionClosed:
            pass
        print('closed', connection.close_code, flush=True)
        telling.cancel()
        peer.stop()


asyncio.run(main(*sys.argv[1:]))
