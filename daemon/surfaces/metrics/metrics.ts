import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Liveness, Readiness } from '../../contracts/status.ts'
import type { Clock } from '../../kit/clock.ts'
import { Door } from '../door.ts'

/** What scrapers and probes may know; nothing else is behind this door. */
export interface Observed {
  live(): Liveness
  readiness(): Readiness
  startedUp(): boolean
  metricsText(): Promise<{ readonly contentType: string; readonly text: string }>
}

export interface MetricsOptions {
  readonly clock: Clock
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Told when a scrape failed; must not throw. */
  readonly complain: (cause: unknown) => void
}

export interface MetricsSurface {
  readonly port: number
  close(graceMs: number): Promise<void>
}

interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string
}

/**
 * Opens the listener for scrapers and kubelets: `/metrics`, `/livez`, `/readyz`, `/startupz`, reads only.
 *
 * Any Host may be asked for and nobody says who they are, for a kubelet asks by the pod's address and has no token.
 *
 * @throws NexusError `PORT_UNAVAILABLE`.
 */
export async function openMetrics(observed: Observed, options: MetricsOptions): Promise<MetricsSurface> {
  const door = new Door((request, response) => {
    // Never rejects: what fails is answered 500.
    void answer(observed, request, response, options.complain)
  }, options.clock)
  await door.open({ host: options.host, port: options.port })
  return { port: door.port, close: (graceMs) => door.close(graceMs) }
}

async function answer(
  observed: Observed,
  request: IncomingMessage,
  response: ServerResponse,
  complain: (cause: unknown) => void,
): Promise<void> {
  const reply = await replyTo(observed, request).catch((cause: unknown) => {
    complain(cause)
    return json(500, { code: 'INTERNAL', detail: 'the metrics could not be read' })
  })
  response.writeHead(reply.status, {
    'content-type': reply.type,
    'content-length': Buffer.byteLength(reply.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(request.method === 'HEAD' ? undefined : reply.body)
}

async function replyTo(observed: Observed, { method, url = '/' }: IncomingMessage): Promise<Reply> {
  if (method !== 'GET' && method !== 'HEAD') {
    return json(405, { code: 'METHOD_NOT_ALLOWED', detail: 'this port only answers GET' })
  }
  const path = url.split('?', 1)[0] ?? ''
  switch (path) {
    case '/metrics': {
      const { contentType, text } = await observed.metricsText()
      return { status: 200, type: contentType, body: text }
    }
    case '/livez': {
      const liveness = observed.live()
      return json(liveness.live ? 200 : 503, liveness)
    }
    case '/readyz': {
      const readiness = observed.readiness()
      return json(readiness.ready ? 200 : 503, readiness)
    }
    case '/startupz': {
      const started = observed.startedUp()
      return json(started ? 200 : 503, { started, timestamp: observed.live().timestamp })
    }
    default:
      return json(404, { code: 'ROUTE_UNKNOWN', detail: 'here are /metrics, /livez, /readyz and /startupz' })
  }
}

function json(status: number, body: object): Reply {
  return { status, type: 'application/json; charset=utf-8', body: JSON.stringify(body) }
}
