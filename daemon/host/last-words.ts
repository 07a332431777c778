import type { Departure } from './port.ts'
import { placeIn } from './start-failure.ts'

/**
 * An exit, with the error that caused it.
 *
 * @param stack - Of the error that nobody caught, if that was it.
 * @param dir - Of the generation: the place in it is told.
 */
export function withLastWords(departure: Departure, stack: string | undefined, dir: string): Departure {
  if (departure.how !== 'exited' || stack === undefined) return departure
  const place = placeIn(stack, dir)
  const said = stack.split('\n', 1)[0] ?? ''
  return { ...departure, said: place === undefined ? said : `${said} (${place})`, stack }
}
