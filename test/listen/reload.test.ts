import { createServer, type Server, type Socket } from 'node:net'
import t from 'tap'
import { type Client, GET, http, MODULE, Street, until } from './street.ts'

/** Answers each piece that it hears as one request, with its name and what was asked. */
const answering =
  (name: string, heard: string[] = []) =>
  (socket: Socket): void => {
    socket.on('data', (bytes) => {
      heard.push(String(bytes))
      socket.write(http(name))
    })
    socket.on('end', () => socket.end())
  }

/** Its connections are taken, and nothing is read from them. */
const pausing = (): Server => createServer({ pauseOnConnect: true, allowHalfOpen: true })

const post = (text: string): string => `POST / HTTP/1.1\r\nContent-Length: ${text.length}\r\n\r\n${text}`

t.test('a connection that is kept alive goes to the new instance with its next request', async (t) => {
  const street = await Street.open(t)
  const before = await street.instance(answering('old'))
  street.direct(before)
  const client = await street.client()
  await client.ask(GET, 'old')
  const after = await street.instance(answering('new'))
  street.direct(after)
  await street.keeper.drain(MODULE, before.id, 10_000)
  await until(
    () => before.sockets.size === 0,
    () => 'somebody is left there',
  )
  await client.ask(GET, 'new')
  await client.ask(GET, 'new')
  t.strictSame(
    [client.over, after.sockets.size, street.status],
    [undefined, 1, { open: 1, waiting: 0, accepted: 1, refused: 0 }],
  )
})

t.test('a request under way is answered by the instance that has it; the next by the other', async (t) => {
  const street = await Street.open(t)
  const answers: (() => void)[] = []
  const slow = await street.instance((socket) => {
    socket.on('data', () => answers.push(() => socket.write(http('old'))))
    socket.on('end', () => socket.end())
  })
  street.direct(slow)
  const client = await street.client()
  client.socket.write(GET)
  await until(
    () => answers.length === 1,
    () => 'it was not asked',
  )
  street.direct(await street.instance(answering('new')))
  let isDrained = false
  const drained = street.keeper.drain(MODULE, slow.id, 10_000).then(() => {
    isDrained = true
  })
  // The next request comes before the answer: it is not for the instance that is leaving.
  client.socket.write(post('next'))
  await street.clock.pass(9_000)
  t.notOk(isDrained)
  answers[0]?.()
  await client.hears('old')
  await client.hears('new')
  await drained
  t.strictSame([client.over, answers.length, street.clock.waiting], [undefined, 1, 0], 'nothing ticks on')
})

t.test('while no instance is there, a kept connection waits with its request', async (t) => {
  const street = await Street.open(t)
  const old = await street.instance(answering('old'))
  street.direct(old)
  const client = await street.client()
  await client.ask(GET, 'old')
  street.direct()
  await street.keeper.drain(MODULE, old.id, 10_000)
  old.kill()
  street.keeper.forget(MODULE, old.id)
  t.strictSame(street.status.open, 1, 'it rests')
  client.heard = ''
  client.socket.write(GET)
  await street.counts({ open: 0, waiting: 1 })
  street.direct(await street.instance(answering('new')))
  await client.hears('new')
})

t.test('between two requests nobody sees an instance die', async (t) => {
  const street = await Street.open(t)
  const [doomed, other] = [
    await street.instance(answering('doomed')),
    await street.instance(answering('other')),
  ]
  street.direct(doomed)
  const client = await street.client()
  await client.ask(GET, 'doomed')
  doomed.kill()
  await until(
    () => doomed.sockets.size === 0,
    () => 'it lives',
  )
  street.direct(other)
  await client.ask(GET, 'other')
  t.equal(client.over, undefined)
})

t.test('an instance that dies at its work takes that connection with it, and no other', async (t) => {
  const street = await Street.open(t)
  const doomed = await street.instance((socket) => {
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it'))
  })
  const other = await street.instance(answering('other'))
  street.direct(doomed)
  const client = await street.client()
  await client.ask(GET, 'half of it')
  street.direct(other)
  const spared = await street.client()
  await spared.ask(GET, 'other')
  doomed.kill()
  t.match(await client.ends(), /end|ECONNRESET/)
  await spared.ask(GET, 'other')
  t.equal(spared.over, undefined)
})

t.test('a request that nobody has read is handed to another instance, once', async (t) => {
  const street = await Street.open(t)
  // It takes connections and reads nothing, as a program does that hangs.
  const hung = await street.instance((socket) => socket.pause(), pausing())
  street.direct(hung)
  const client = await street.client()
  client.socket.write(post('pay'))
  await until(
    () => hung.sockets.size === 1,
    () => 'nobody came',
  )
  const heard: string[] = []
  street.direct(await street.instance(answering('new', heard)))
  t.equal(client.heard, '')
  hung.kill()
  await client.hears('new')
  t.strictSame([heard, client.over], [[post('pay')], undefined])
  // It is as good as any other afterwards.
  street.direct(await street.instance(answering('newest')))
  await client.ask(GET, 'newest')
})

t.test('a request of which a part was read is not handed on', async (t) => {
  const street = await Street.open(t)
  let read = 0
  const hung = await street.instance((socket) => {
    socket.once('data', (bytes) => {
      read += bytes.length
    })
  })
  street.direct(hung)
  const client = await street.client()
  client.socket.write(post('pay'))
  await until(
    () => read > 0,
    () => 'nothing came',
  )
  const heard: string[] = []
  street.direct(await street.instance(answering('new', heard)))
  hung.kill()
  t.match(await client.ends(), /end|ECONNRESET/)
  t.strictSame([heard, client.heard], [[], ''])
})

t.test('a request that meets one end after the other is given up at the fourth', async (t) => {
  const street = await Street.open(t)
  let met = 0
  const deadly = await street.instance((socket) => {
    met += 1
    // Unread bytes at the moment of a close: a reset.
    setImmediate(() => socket.destroy())
  }, pausing())
  street.direct(deadly)
  const client = await street.client()
  client.socket.write(GET)
  t.match(await client.ends(), /end|ECONNRESET/)
  t.ok(met >= 1 && met <= 4, `it met ${met}`)
})

t.test('what has left HTTP stays where it is until it is forgotten', async (t) => {
  const street = await Street.open(t)
  const upgraded = (socket: Socket): void => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n')
      socket.on('data', (bytes) => socket.write(`old heard ${bytes}`))
    })
  }
  const old = await street.instance(upgraded)
  street.direct(old)
  const client = await street.client()
  await client.ask(GET, '101')
  street.direct(await street.instance(answering('new')))
  let isDrained = false
  const drained = street.keeper.drain(MODULE, old.id, 10_000).then(() => {
    isDrained = true
  })
  await client.ask('ping', 'old heard ping')
  await street.clock.pass(9_999)
  t.notOk(isDrained, 'it waits for the connection to end')
  await street.clock.pass(1)
  await drained
  await client.ask('still there', 'old heard still there')
  street.keeper.forget(MODULE, old.id)
  await street.clock.pass(5_000)
  t.equal(await client.ends(), 'ECONNRESET')
})

t.test('an instance that is gone may still be heard out', async (t) => {
  const street = await Street.open(t)
  let hasHeard = false
  let answer = (): void => {}
  const old = await street.instance((socket) => {
    socket.on('data', () => {
      hasHeard = true
      answer = () => socket.end('its last words')
    })
  })
  street.direct(old)
  const client = await street.client()
  client.socket.write('x')
  await until(
    () => hasHeard,
    () => 'it heard nothing',
  )
  street.direct()
  street.keeper.forget(MODULE, old.id)
  await street.clock.pass(4_999)
  answer()
  await client.hears('its last words')
  t.equal(await client.ends(), 'end')
})

t.test('a connection on which nothing was said yet goes to another instance at once', async (t) => {
  const street = await Street.open(t)
  const greeting = (name: string) => (socket: Socket) => {
    if (name === 'new') socket.write(`${name} greets`)
  }
  const old = await street.instance(greeting('old'))
  street.direct(old)
  const client = await street.client()
  await until(
    () => old.sockets.size === 1,
    () => 'nobody came',
  )
  street.direct(await street.instance(greeting('new')))
  // A protocol in which the server speaks first would wait for ever otherwise.
  await client.hears('new greets')
})

t.test('who loses an instance goes before those who have not had one', async (t) => {
  const street = await Street.open(t)
  const hung = await street.instance((socket) => socket.pause(), pausing())
  street.direct(hung)
  const first = await street.client()
  first.socket.write(post('first'))
  await until(
    () => hung.sockets.size === 1,
    () => 'nobody came',
  )
  street.direct()
  const second = await street.client()
  second.socket.write(post('second'))
  await street.counts({ waiting: 1 })
  hung.kill()
  await street.counts({ waiting: 2 })
  const heard: string[] = []
  street.direct(await street.instance(answering('new', heard)))
  await first.hears('new')
  await second.hears('new')
  t.strictSame(heard, [post('first'), post('second')])
})

t.test('words held for the next instance go to this one when it keeps the connection', async (t) => {
  const street = await Street.open(t)
  const heard: string[] = []
  let upgrade = (): void => {}
  const old = await street.instance((socket) => {
    socket.on('data', (bytes) => heard.push(String(bytes)))
    upgrade = () => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  })
  street.direct(old)
  const client = await street.client()
  client.socket.write(GET)
  await until(
    () => heard.length === 1,
    () => 'it was not asked',
  )
  street.direct()
  client.socket.write('a frame of the protocol to come')
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  t.equal(heard.length, 1)
  upgrade()
  await until(
    () => heard.length === 2,
    () => 'it was not forwarded',
  )
  t.equal(heard[1], 'a frame of the protocol to come')
})

t.test('a connection that rests is ended after two minutes, and when its port is closed', async (t) => {
  const street = await Street.open(t)
  const old = await street.instance(answering('old'))
  street.direct(old)
  const early = await street.client()
  await early.ask(GET, 'old')
  street.direct()
  await street.clock.pass(100_000)
  street.direct(old)
  const late = await street.client()
  await late.ask(GET, 'old')
  street.direct()
  await street.clock.pass(20_000)
  t.equal(await early.ends(), 'end')
  t.equal(late.over, undefined)
  await street.keeper.release(MODULE)
  t.equal(await late.ends(), 'end')
})

t.test('a reload under load loses nothing, whatever is kept alive and wherever it is cut', async (t) => {
  const street = await Street.open(t)
  const serve =
    (name: string) =>
    (socket: Socket): void => {
      let text = ''
      socket.on('data', (bytes) => {
        text += bytes
        for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
          text = text.slice(end + 4)
          // An answer in two pieces, the second a few turns later.
          const answer = http(`${name};`)
          socket.write(answer.slice(0, 20))
          setImmediate(() => setImmediate(() => socket.write(answer.slice(20))))
        }
      })
      socket.on('end', () => socket.end())
    }
  let current = await street.instance(serve('g0'))
  street.direct(current)
  let isOver = false
  const seen = new Set<string>()
  let answered = 0
  const work = async (client: Client): Promise<void> => {
    while (!isOver) {
      await client.ask(GET, ';')
      seen.add(/g\d+/.exec(client.heard)?.[0] ?? client.heard)
      answered += 1
    }
    t.equal(client.over, undefined)
  }
  const clients = await Promise.all(Array.from({ length: 8 }, () => street.client()))
  const working = Promise.all(clients.map(work))
  await until(
    () => answered > 0,
    () => 'no work is done',
  )
  for (let round = 1; round <= 20; round += 1) {
    const next = await street.instance(serve(`g${round}`))
    street.direct(next)
    await street.keeper.drain(MODULE, current.id, 10_000)
    current.kill()
    street.keeper.forget(MODULE, current.id)
    current = next
    const enough = answered + 40
    await until(
      () => answered >= enough,
      () => 'the work has stopped',
    )
  }
  isOver = true
  await working
  t.strictSame([seen.size, street.status], [21, { open: 8, waiting: 0, accepted: 8, refused: 0 }])
})
