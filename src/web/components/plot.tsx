/** Lines over time, drawn by uPlot; follows the width of its place and the colours of the theme. */
import 'uplot/dist/uPlot.min.css'
import { useComputedColorScheme } from '@mantine/core'
import { useEffect, useRef } from 'react'
import uPlot from 'uplot'

const HEIGHT = 180
const AXIS_WIDTH = 74
/** Its half is still a whole one. */
const LEAST_MAX = 2
/** Room for a time on its axis. */
const TIME_SPACE = 64
const TIME_HEIGHT = 30
const [MINUTE, HOUR, DAY] = [60, 3600, 86_400]
/** Nothing between two seconds: they would have one name. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY]
const WITH_SECONDS = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const TO_MINUTES = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const DATE = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' })
const COLOURS = { light: ['#0b7085', '#b4551a'], dark: ['#45bfd3', '#f0a35e'] }

interface PlotProps {
  readonly label: string
  /** Unix seconds. */
  readonly times: readonly number[]
  readonly lines: readonly { readonly name: string; readonly values: readonly number[] }[]
  readonly format: (value: number) => string
  /** Where the axis ends; otherwise it follows the values. */
  readonly max?: number
}

export function Plot({ label, times, lines, format, max }: PlotProps) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const scheme = useComputedColorScheme('light')
  const formatter = useRef(format)
  const names = lines.map(({ name }) => name).join('\n')

  useEffect(() => {
    const element = box.current
    if (element === null) return
    const style = getComputedStyle(document.documentElement)
    const muted = style.getPropertyValue('--berth-muted').trim()
    const grid = style.getPropertyValue('--berth-line').trim()
    const font = '11px "Inter Variable", sans-serif'
    const axis = { stroke: muted, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } }
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        padding: [12, 14, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, y: false },
        scales: { y: { range: (_self, _min, dataMax) => [0, max ?? Math.max(dataMax * 1.15, LEAST_MAX)] } },
        axes: [{ ...axis, space: TIME_SPACE, size: TIME_HEIGHT, incrs: TIME_STEPS, values: (_self, splits, _axis, _space, step) => splits.map(at => formatTick(at, step)) }, { ...axis, size: AXIS_WIDTH, splits: (_self, _axis, low, high) => [low, high / 2, high], values: (_self, splits) => splits.map(value => formatter.current(value)) }],
        series: [{}, ...names.split('\n').map((name, index) => ({ label: name, stroke: COLOURS[scheme][index] ?? muted, width: 1.6, points: { show: false }, fill: `${COLOURS[scheme][index] ?? muted}1c` }))],
      },
      [[], ...names.split('\n').map(() => [])],
      element,
    )
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = null
    }
  }, [scheme, max, names])

  useEffect(() => {
    formatter.current = format
    plot.current?.setData([[...times], ...lines.map(({ values }) => [...values])])
  })

  return <div ref={box} role="img" aria-label={label} style={{ height: HEIGHT, overflow: 'hidden' }} />
}

/** 11:43:10, 11:43, or the day where one begins. */
function formatTick(seconds: number, step: number): string {
  const at = new Date(seconds * 1000)
  if (step >= DAY || (step >= MINUTE && at.getHours() === 0 && at.getMinutes() === 0)) return DATE.format(at)
  return (step < MINUTE ? WITH_SECONDS : TO_MINUTES).format(at)
}
