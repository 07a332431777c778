import fc from 'fast-check'
import t from 'tap'
import { Turns } from '../../daemon/listen/turns.ts'

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** What is left of two sides that have said this, each in one piece. */
function after(asked: string, answered: string): 'rest' | 'busy' {
  const turns = new Turns()
  if (asked !== '') turns.asked(bytes(asked))
  if (answered !== '') turns.answered(bytes(answered))
  return turns.isAtRest ? 'rest' : 'busy'
}

t.test('what is under way, or may be, or is no HTTP/1.1, is never taken for rest', async (t) => {
  const cases: Record<string, readonly [asked: string, answered: string]> = {
    'no answer yet': [GET, ''],
    'half a head': ['GET / HTTP/1.1\r\nHo', ''],
    'half a body': [`POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc`, OK],
    'half an answer': [GET, 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok'],
    'a chunk without its end': [GET, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n'],
    'a trailer without its end': [GET, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n'],
    'only an interim answer': [GET, 'HTTP/1.1 100 Continue\r\n\r\n'],
    'two requests and one answer': [GET + GET, OK],
    'an answer that ends where the connection does': [GET, 'HTTP/1.1 200 OK\r\n\r\nok'],
    'an answer that closes': [GET, `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok`],
    'a request that closes': [`GET / HTTP/1.1\r\nConnection: keep-alive, close\r\n\r\n`, OK],
    'HTTP/1.0': ['GET / HTTP/1.0\r\n\r\n', OK],
    'an answer in HTTP/1.0': [GET, OK.replace('1.1', '1.0')],
    'a WebSocket': [GET, 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n'],
    'a tunnel': ['CONNECT a:1 HTTP/1.1\r\n\r\n', OK],
    'two lengths': ['POST / HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n', OK],
    'a length and chunks': [
      GET,
      'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    'a length that is no number': ['POST / HTTP/1.1\r\nContent-Length: +0\r\n\r\n', OK],
    'an encoding beside chunks': [
      GET,
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    ],
    'a chunk of no size': [GET, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n'],
    'an answer that nobody asked for': ['', OK],
    'who speaks first': ['', '220 mail ESMTP\r\n'],
    TLS: ['\x16\x03\x01\x02', ''],
    'HTTP/2': ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', ''],
    'another protocol': ['EHLO a\r\n\r\n', ''],
    'a head beyond measure': [`GET / HTTP/1.1\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`, OK],
  }
  const taken = Object.entries(cases).filter(([, [asked, answered]]) => after(asked, answered) === 'rest')
  t.strictSame(taken, [])
})

t.test('a connection that left HTTP never comes back to it', async (t) => {
  const turns = new Turns()
  turns.asked(bytes(GET))
  turns.answered(bytes('HTTP/1.1 101 Switching Protocols\r\n\r\n'))
  turns.asked(bytes(GET))
  turns.answered(bytes(OK))
  t.strictSame([turns.isAtRest, turns.isBetweenRequests], [false, false])
})

t.test('an exchange that is over is over, whatever its kind', async (t) => {
  const cases: Record<string, readonly [asked: string, answered: string]> = {
    'nothing yet': ['', ''],
    'a length': [GET, OK],
    'HEAD, which has a length and no body': ['HEAD / HTTP/1.1\r\n\r\n', OK.slice(0, -2)],
    'no content': [GET, 'HTTP/1.1 204 No Content\r\n\r\n'],
    'not modified': [GET, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n'],
    'a status without words': [GET, 'HTTP/1.1 204\r\n\r\n'],
    'an interim answer first': [GET, `HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n${OK}`],
    chunks: [
      'POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x="y"\r\nabc\r\n0\r\nX: 1\r\n\r\n',
      'HTTP/1.1 200 OK\r\ntransfer-encoding:chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n',
    ],
    'several at once': [GET + GET + GET, OK + OK + OK],
    'the word close elsewhere': ['GET /close HTTP/1.1\r\nX-Connection: close\r\n\r\n', OK],
  }
  const wrong = Object.entries(cases).filter(([, [asked, answered]]) => after(asked, answered) !== 'rest')
  t.strictSame(wrong, [])
})

const body = fc.string({ unit: 'binary-ascii', maxLength: 40 })
const framed = fc.tuple(body, fc.boolean()).map(([text, isChunked]) => {
  if (!isChunked) return `Content-Length: ${text.length}\r\n\r\n${text}`
  const chunk = text === '' ? '' : `${text.length.toString(16)}\r\n${text}\r\n`
  return `Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`
})
const exchange = fc.record({
  asked: framed.map((rest) => `POST /a HTTP/1.1\r\nHost: a\r\n${rest}`),
  answered: framed.map((rest) => `HTTP/1.1 200 OK\r\n${rest}`),
})

t.test('however the bytes are cut, rest is where all is said and nowhere else', async (t) => {
  let looks = 0
  fc.assert(
    fc.property(
      fc.array(exchange, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 9 }),
      (all, step) => {
        const turns = new Turns()
        for (const { asked, answered } of all) {
          for (const [said, hear] of [
            [asked, (piece: Buffer) => turns.asked(piece)],
            [answered, (piece: Buffer) => turns.answered(piece)],
          ] as const) {
            for (let at = 0; at < said.length; at += step) {
              hear(bytes(said.slice(at, at + step)))
              looks += 1
              const isOver = said === answered && at + step >= said.length
              if (turns.isAtRest !== isOver) return false
            }
          }
        }
        return true
      },
    ),
  )
  t.ok(looks > 1_000, `looked ${looks} times`)
})

t.test('bytes of any kind are borne', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.uint8Array({ minLength: 1 }))), (pieces) => {
      const turns = new Turns()
      for (const [isAsked, piece] of pieces) {
        if (isAsked) turns.asked(Buffer.from(piece))
        else turns.answered(Buffer.from(piece))
      }
      return typeof turns.isAtRest === 'boolean'
    }),
  )
  t.pass('none threw')
})
