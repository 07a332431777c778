import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import t from 'tap'
import { Street, until } from './street.ts'

/** Writes until nothing is taken any more; the hash of all that was. */
async function writeUntilStopped(writer: Socket): Promise<string> {
  const sent = createHash('sha256')
  for (let idle = 0, pieces = 0; idle < 500; idle += 1) {
    while (writer.writableLength === 0) {
      const piece = Buffer.alloc(1_000_000, randomBytes(61))
      writer.write(piece)
      sent.update(piece)
      idle = 0
      pieces += 1
      if (pieces > 24) throw new Error(`it took ${pieces} MB and goes on`)
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  return sent.digest('hex')
}

const echo = (socket: Socket): void => {
  socket.pipe(socket)
}

t.test('bytes arrive as they were sent, both ways, and each end is passed on by itself', async (t) => {
  const street = await Street.open(t)
  const heard = createHash('sha256')
  // Ends its side first, then hears the client out; answers all that only when the client has ended, too.
  const instance = await street.instance((socket) => {
    const pieces: Buffer[] = []
    socket.on('data', (bytes: Buffer) => pieces.push(bytes))
    socket.on('end', () => socket.end(Buffer.concat(pieces)))
  })
  street.direct(instance)
  const sent = randomBytes(3_000_000)
  const client = await street.client()
  client.socket.removeAllListeners('data')
  client.socket.on('data', (bytes: Buffer) => heard.update(bytes))
  client.socket.end(sent)

  t.equal(await client.ends(), 'end')
  t.equal(heard.digest('hex'), createHash('sha256').update(sent).digest('hex'))
  await street.counts({ open: 0, accepted: 1, refused: 0 })
})

t.test('an end of the instance leaves the client its say', async (t) => {
  const street = await Street.open(t)
  let said = ''
  const instance = await street.instance((socket) => {
    socket.end('that is all')
    socket.on('data', (bytes) => (said += bytes))
  })
  street.direct(instance)
  const client = await street.client()
  t.equal(await client.ends(), 'end')
  client.socket.end('not for me')
  await street.counts({ open: 0 })
  t.strictSame([client.heard, said], ['that is all', 'not for me'])
})

t.test('a reset is passed on, to either side', async (t) => {
  const street = await Street.open(t)
  let ends = 0
  const instance = await street.instance((socket) => {
    socket.on('data', () => {})
    socket.on('end', () => (ends += 1))
  })
  street.direct(instance)
  const gone = await street.client()
  gone.socket.write('x')
  await until(
    () => instance.sockets.size === 1,
    () => 'nobody came',
  )
  gone.socket.resetAndDestroy()
  await street.counts({ open: 0 })
  await until(
    () => ends === 1,
    () => 'the instance was not told',
  )

  const left = await street.client()
  left.socket.write('x')
  await until(
    () => [...instance.sockets][1]?.bytesRead === 1,
    () => 'nothing came',
  )
  // Unread bytes at the moment of a close: the kernel makes a reset of it.
  const socket = [...instance.sockets][1]
  socket?.pause()
  left.socket.write('y'.repeat(200_000))
  await until(
    () => (socket?.bytesRead ?? 0) > 1,
    () => 'nothing more came',
  )
  instance.kill()
  t.equal(await left.ends(), 'ECONNRESET')
})

for (const slow of ['client', 'instance'] as const) {
  t.test(`a slow ${slow} stops whoever writes to it, and nothing is lost`, async (t) => {
    const street = await Street.open(t)
    const arrived = new Promise<Socket>((resolve) => {
      void street.instance(resolve).then((instance) => street.direct(instance))
    })
    const client = await street.client()
    client.socket.removeAllListeners('data')
    client.socket.pause()
    const instance = await arrived
    instance.pause()
    const [writer, reader] = slow === 'client' ? [instance, client.socket] : [client.socket, instance]

    const sent = await writeUntilStopped(writer)
    writer.end()
    const received = createHash('sha256')
    reader.on('data', (bytes: Buffer) => received.update(bytes))
    reader.resume()
    await once(reader, 'end')
    t.equal(received.digest('hex'), sent)
  })
}

t.test('an answer that is still on its way is not written over by that of another', async (t) => {
  const street = await Street.open(t)
  const answer = randomBytes(20_000_000)
  const sockets: Socket[] = []
  street.direct(await street.instance((socket) => sockets.push(socket)))
  const slow = await street.client()
  slow.socket.removeAllListeners('data')
  slow.socket.pause()
  await until(
    () => sockets.length === 1,
    () => 'nobody came',
  )
  sockets[0]?.end(answer)
  const quick = await street.client()
  await until(
    () => sockets.length === 2,
    () => 'nobody came',
  )
  for (let count = 0; count < 20; count += 1) {
    quick.heard = ''
    sockets[1]?.write('y'.repeat(60_000))
    await until(
      () => quick.heard.length === 60_000,
      () => `${quick.heard.length} came`,
    )
  }
  const heard = createHash('sha256')
  slow.socket.on('data', (bytes: Buffer) => heard.update(bytes))
  slow.socket.resume()
  await once(slow.socket, 'end')
  t.equal(heard.digest('hex'), createHash('sha256').update(answer).digest('hex'))
})

t.test('a client that waits is held back when it says much, and all of it arrives', async (t) => {
  const street = await Street.open(t)
  const client = await street.client()
  const sent = await writeUntilStopped(client.socket)
  client.socket.end()
  const received = createHash('sha256')
  let isOver = false
  const instance = await street.instance((socket) => {
    socket.on('data', (bytes) => received.update(bytes))
    socket.on('end', () => {
      isOver = true
    })
  })
  street.direct(instance)
  await until(
    () => isOver,
    () => 'the end did not come',
  )
  t.equal(received.digest('hex'), sent)
})

t.test('what a client said before it went arrives at an instance that reads slowly', async (t) => {
  const street = await Street.open(t)
  const heard = createHash('sha256')
  let isOver = false
  // Ends its side at once, and reads a little whenever the loop has turned a few times.
  const instance = await street.instance((socket) => {
    socket.on('data', (bytes) => {
      heard.update(bytes)
      socket.pause()
      setImmediate(() => setImmediate(() => setImmediate(() => socket.resume())))
    })
    socket.on('end', () => {
      isOver = true
    })
    socket.end('bye')
  })
  street.direct(instance)
  const client = await street.client()
  await client.hears('bye')
  const sent = randomBytes(3_000_000)
  client.socket.end(sent)
  await until(
    () => isOver,
    () => 'the end did not come',
  )
  t.equal(heard.digest('hex'), createHash('sha256').update(sent).digest('hex'))
  await street.counts({ open: 0 })
})

t.test('connections go to the least busy, in turns among equals', async (t) => {
  const street = await Street.open(t)
  const instances = await Promise.all([1, 2, 3].map(() => street.instance(echo)))
  const [first, second] = instances
  if (first === undefined || second === undefined) throw new Error('no instances')
  street.direct(first, second)
  for (let count = 0; count < 4; count += 1) await (await street.client()).ask('x', 'x')
  const busy = (): number[] => instances.map(({ sockets }) => sockets.size)
  t.strictSame(busy(), [2, 2, 0])
  street.direct(...instances)
  for (let count = 0; count < 5; count += 1) await (await street.client()).ask('x', 'x')
  t.strictSame(busy(), [3, 3, 3])

  const quiet = await Street.open(t)
  const served: string[] = []
  const named = (name: string) =>
    quiet.instance((socket) => {
      served.push(name)
      socket.end(name)
    })
  quiet.direct(await named('a'), await named('b'))
  for (let count = 0; count < 4; count += 1) {
    const client = await quiet.client()
    await client.ends()
    client.socket.end()
    await quiet.counts({ open: 0 })
  }
  t.strictSame(served.toSorted(), ['a', 'a', 'b', 'b'])
})

t.test('while nobody listens, connections wait and are let in by their order', async (t) => {
  const street = await Street.open(t)
  const served: string[] = []
  const clients = []
  for (const name of ['a', 'b', 'c']) {
    const client = await street.client()
    client.socket.write(name)
    clients.push(client)
    await street.counts({ waiting: clients.length })
  }
  const instance = await street.instance((socket) => {
    socket.on('data', (bytes) => {
      served.push(String(bytes))
      socket.write(`${bytes}!`)
    })
  })
  street.direct(instance)
  for (const client of clients) await client.hears('!')
  t.strictSame([served, street.status], [['a', 'b', 'c'], { open: 3, waiting: 0, accepted: 3, refused: 0 }])
})

t.test('an instance that died a moment ago costs its connections a wait, no more', async (t) => {
  const street = await Street.open(t)
  const dead = await street.instance(echo)
  dead.kill()
  street.direct(dead)
  const client = await street.client()
  client.socket.write('hello')
  await street.counts({ waiting: 1 })
  const alive = await street.instance(echo)
  street.direct(dead, alive)
  await client.hears('hello')
  t.strictSame(street.status, { open: 1, waiting: 0, accepted: 1, refused: 0 })
})

t.test('an instance that listens only later is tried again', async (t) => {
  const street = await Street.open(t)
  const path = street.keeper.paths('demo/web', 'demo/web#late')['web'] ?? ''
  street.direct({ id: 'demo/web#late' })
  const client = await street.client()
  client.socket.write('hello')
  await street.counts({ waiting: 1 })
  const server = createServer(echo).listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  await street.clock.pass(25)
  await client.hears('hello')
  t.strictSame([street.status.waiting, street.clock.waiting], [0, 0], 'and nothing ticks on')
})

t.test('an instance that is named anew is tried at once', async (t) => {
  const street = await Street.open(t)
  const id = 'demo/web#late'
  const path = street.keeper.paths('demo/web', id)['web'] ?? ''
  street.direct({ id })
  const client = await street.client()
  client.socket.write('hello')
  await street.counts({ waiting: 1 })
  const server = createServer(echo).listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  street.direct({ id })
  await client.hears('hello')
})

t.test('tries in between do not prolong the wait', async (t) => {
  const street = await Street.open(t)
  street.keeper.paths('demo/web', 'demo/web#never')
  street.direct({ id: 'demo/web#never' })
  const client = await street.client()
  await street.counts({ waiting: 1 })
  for (let passedMs = 0; passedMs < 10_000; passedMs += 500) await street.clock.pass(500)
  t.equal(await client.ends(), 'ECONNRESET')
  await street.counts({ waiting: 0, refused: 1 })
})

t.test('who has waited ten seconds is sent away, and counted', async (t) => {
  const street = await Street.open(t)
  const early = await street.client()
  await street.counts({ waiting: 1 })
  await street.clock.pass(6_000)
  const late = await street.client()
  await street.counts({ waiting: 2 })
  await street.clock.pass(3_999)
  t.strictSame([early.over, street.status.refused], [undefined, 0])
  await street.clock.pass(1)
  t.equal(await early.ends(), 'ECONNRESET')
  await street.counts({ open: 0, waiting: 1, accepted: 2, refused: 1 })
  await street.clock.pass(6_000)
  t.equal(await late.ends(), 'ECONNRESET')
  await street.counts({ open: 0, waiting: 0, refused: 2 })
  t.equal(street.clock.waiting, 0, 'nothing ticks on')
})

t.test('a client that leaves while it waits is dropped; one that has asked and ended is not', async (t) => {
  const street = await Street.open(t)
  const [quiet, reset, asked] = [await street.client(), await street.client(), await street.client()]
  await street.counts({ waiting: 3 })
  quiet.socket.end()
  reset.socket.resetAndDestroy()
  asked.socket.end('last words')
  await street.counts({ waiting: 1, accepted: 3, refused: 0 })
  street.direct(await street.instance(echo))
  await asked.hears('last words')
  t.equal(await asked.ends(), 'end')
})

t.test('a thousand wait; the next is refused, and those before it are not', async (t) => {
  const street = await Street.open(t)
  const clients = await Promise.all(Array.from({ length: 1_000 }, () => street.client()))
  await street.counts({ waiting: 1_000 })
  const over = await street.client()
  t.match(await over.ends(), /end|ECONNRESET/)
  await street.counts({ waiting: 1_000, accepted: 1_001, refused: 1 })
  const instance = await street.instance(echo)
  street.direct(instance)
  for (const client of clients) client.socket.write('x')
  // More than a socket's queue holds at once: the others are tried again.
  for (let round = 0; round < 300 && instance.sockets.size < 1_000; round += 1) await street.clock.pass(25)
  for (const client of clients) await client.hears('x')
  t.strictSame(street.status, { open: 1_000, waiting: 0, accepted: 1_001, refused: 1 })
})

t.test('beyond the room of all ports together a connection is refused at once', async (t) => {
  const street = await Street.open(t, 2)
  street.direct(await street.instance(echo))
  const first = await street.client()
  await first.ask('x', 'x')
  await (await street.client()).ask('x', 'x')
  t.match(await (await street.client()).ends(), /end|ECONNRESET/)
  first.socket.end()
  await street.counts({ open: 1, refused: 1 })
  await (await street.client()).ask('x', 'x')
  t.strictSame(street.status, { open: 2, waiting: 0, accepted: 4, refused: 1 })
})

t.test('half an end that nobody answers is cut after two minutes of silence', async (t) => {
  const street = await Street.open(t)
  const instance = await street.instance((socket) => {
    socket.on('data', () => socket.end('bye'))
  })
  street.direct(instance)
  const client = await street.client()
  await client.ask('x', 'bye')
  t.equal(await client.ends(), 'end')
  await street.clock.pass(119_999)
  client.socket.write('still here')
  await until(
    () => [...instance.sockets].some(({ bytesRead }) => bytesRead > 1),
    () => 'nothing came',
  )
  await street.clock.pass(120_000)
  t.equal(street.status.open, 1, 'it was not silent')
  await street.clock.pass(120_000)
  await street.counts({ open: 0 })

  street.direct(await street.instance(() => {}))
  const ended = await street.client()
  await street.counts({ open: 1 })
  ended.socket.end('anybody there?')
  await street.clock.pass(119_999)
  t.equal(ended.over, undefined)
  await street.clock.pass(1)
  t.equal(await ended.ends(), 'ECONNRESET')
})
