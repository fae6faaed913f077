/** Figures as a person reads them. Pure. */

const BYTE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']

/** Binary sizes: 512 MB, 1.5 GB. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(value >= 10 ? 1 : 2))} ${BYTE_UNITS[unit]}`
}

/** 840 ms, 12 s, 4 min, 3 h 12 min, 5 d 2 h. */
export function formatSpan(ms: number): string {
  if (ms < 1000) return `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms`
  const seconds = ms / 1000
  if (seconds < 60) return `${seconds < 10 ? Number(seconds.toFixed(2)) : Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** How long ago, from the clock of this page; a server's clock that is ahead counts as now. */
export function spanSince(time: string, now: number): string {
  return formatSpan(Math.max(1000, Math.floor((now - Date.parse(time)) / 1000) * 1000))
}

const SECONDS = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const
const DAY = { month: 'short', day: 'numeric' } as const
const STAMP = new Intl.DateTimeFormat(undefined, { ...DAY, ...SECONDS })
const STAMP_OF_YEAR = new Intl.DateTimeFormat(undefined, { year: 'numeric', ...DAY, ...SECONDS })
const CLOCK = new Intl.DateTimeFormat(undefined, { ...SECONDS, fractionalSecondDigits: 3 })
const DAY_CLOCK = new Intl.DateTimeFormat(undefined, { ...DAY, ...SECONDS, fractionalSecondDigits: 3 })

/** Nov 28, 11:42:26; with its year where that is another one. */
export function formatTime(time: string): string {
  const at = new Date(time)
  return (at.getFullYear() === new Date().getFullYear() ? STAMP : STAMP_OF_YEAR).format(at)
}

/** 11:42:26.310 */
export function formatClock(time: string): string {
  return CLOCK.format(new Date(time))
}

/** The same, with its day where that is not today. */
export function formatMoment(time: string): string {
  const at = new Date(time)
  return (at.toDateString() === new Date().toDateString() ? CLOCK : DAY_CLOCK).format(at)
}

/** `docker.io/library/nginx:latest` → `nginx`; what is not the default is kept. */
export function shortImage(name: string): string {
  return name.replace(/^docker\.io\/(library\/)?/, '').replace(/:latest$/, '')
}

export function shortId(id: string): string {
  return id.slice(0, 13)
}

export function formatPercent(share: number): string {
  const percent = share * 100
  return `${percent >= 10 ? Math.round(percent) : percent.toFixed(1)} %`
}
