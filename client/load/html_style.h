// The look of the HTML report: its style sheet and the script that shows values under the pointer.
// Everything that the page needs; it loads nothing.
#pragma once

#include <string_view>

namespace switchyard {

inline constexpr std::string_view kReportStyle = R"css(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--fg:#1a202c;--muted:#5b6675;--grid:#e3e7ec;--axis:#9aa5b1;
--good:#047857;--bad:#b91c1c;--warn-bg:#fff7e0;--warn-line:#d9a514;--bad-bg:#fdecec;--band:#eef1f5;
--c0:#2563eb;--c1:#c2570c;--c2:#04815a;--c3:#c81e4a;--c4:#7c3aed;--c5:#0e7490;--c6:#a3388f;--c7:#64748b}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b2129;--fg:#e6eaf0;--muted:#9aa7b6;--grid:#2c3541;--axis:#586575;
--good:#34d399;--bad:#fb8b8b;--warn-bg:#332a10;--warn-line:#d9a514;--bad-bg:#3a1a1d;--band:#232b35;
--c0:#6ea8fe;--c1:#f5a35c;--c2:#3ecf9a;--c3:#fb7a99;--c4:#b79bfb;--c5:#4fc7dd;--c6:#e38bd3;--c7:#a0adbd}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:24px;margin:4px 0}h2{font-size:18px;margin:34px 0 10px}h3{font-size:15px;margin:18px 0 6px}
.sub,.note{color:var(--muted)}.sub{margin:0 0 14px;overflow-wrap:anywhere}p.note{margin:2px 0 6px;font-size:13px}main>p.note{margin:10px 0 8px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px}
.tile,figure,.card{background:var(--card);border:1px solid var(--grid);border-radius:8px}
.tile{padding:10px 12px}.tile b{display:block;font-size:22px;font-weight:600;line-height:1.25}
.tile span{color:var(--muted);font-size:13px;display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}
figure{margin:0;padding:12px 12px 6px;position:relative;min-width:0}figcaption{font-weight:600}
.legend{margin:4px 0 2px;font-size:13px;color:var(--muted);display:flex;flex-wrap:wrap;gap:2px 14px}
.legend i{display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle;background:var(--c)}
.legend .unit{margin-left:auto}.empty{color:var(--muted);padding:30px 0;text-align:center}
svg{display:block;width:100%;height:auto;touch-action:pan-y}
svg text{fill:var(--muted);font-size:12px}.ytick{text-anchor:end}.xtick,.xtitle{text-anchor:middle}.xtick.last{text-anchor:end}
.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}.band{fill:var(--band)}.mark{stroke:var(--bad);stroke-width:2;stroke-dasharray:5 3}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}.dot{fill:var(--c)}
.whisker{stroke:var(--c);stroke-width:5;opacity:.35}
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}.s4{--c:var(--c4)}.s5{--c:var(--c5)}.s6{--c:var(--c6)}.s7{--c:var(--c7)}
.cross{stroke:var(--axis);stroke-dasharray:3 3}
.tip{position:absolute;pointer-events:none;background:var(--fg);color:var(--bg);font-size:12px;padding:4px 8px;border-radius:5px;white-space:nowrap;z-index:2}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--grid);white-space:nowrap;vertical-align:top}
th:first-child,td:first-child,.text{text-align:left}td.text{white-space:normal;overflow-wrap:anywhere;min-width:9em}
thead th{color:var(--muted);font-weight:500;font-size:13px}tbody tr:last-child td{border-bottom:0}
td small{display:block;color:var(--muted);font-size:12px}td .bar{display:block;height:4px;border-radius:2px;background:var(--c0);margin-top:4px;min-width:1px}
.card{padding:4px 4px}.yes{color:var(--good)}.no{color:var(--bad)}
.box{border-radius:8px;padding:10px 14px;margin:12px 0;border-left:4px solid var(--warn-line);background:var(--warn-bg);overflow-wrap:anywhere}
.box ul{margin:4px 0;padding-left:20px}.box.refused{border-color:var(--bad);background:var(--bad-bg)}
dl{display:grid;grid-template-columns:minmax(90px,max-content) 1fr;gap:4px 16px;margin:8px 10px}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px;margin:8px 10px}summary{cursor:pointer;padding:6px 10px}
@media (max-width:520px){main{padding:12px 10px 32px}.tile b{font-size:19px}.tiles{grid-template-columns:repeat(2,1fr)}
svg text{font-size:14px}dl{grid-template-columns:1fr}dd{margin-bottom:6px}}
@media print{body{background:#fff}figure,.card,.tile{break-inside:avoid}}
)css";

// Over a chart, the values at the nearest x. Without it the page is as it is printed.
inline constexpr std::string_view kReportScript = R"js(
document.querySelectorAll("svg[data-plot]").forEach(svg=>{
const points=JSON.parse(svg.dataset.plot),figure=svg.closest("figure");
const names=[...figure.querySelectorAll(".legend span:not(.unit)")].map(e=>e.textContent);
const unit=figure.querySelector(".unit").textContent,axis=svg.querySelector(".xtitle").textContent;
if(!points.length)return;
const rule=document.createElementNS("http://www.w3.org/2000/svg","line"),tip=document.createElement("div");
rule.setAttribute("class","cross");rule.setAttribute("y1",12);rule.setAttribute("y2",206);tip.className="tip";
const leave=()=>{rule.remove();tip.remove()};
svg.addEventListener("pointerleave",leave);
svg.addEventListener("pointermove",event=>{
const box=svg.getBoundingClientRect(),x=(event.clientX-box.left)/box.width*480;
let at=points[0];for(const p of points)if(Math.abs(p[0]-x)<Math.abs(at[0]-x))at=p;
rule.setAttribute("x1",at[0]);rule.setAttribute("x2",at[0]);svg.append(rule);
tip.textContent="";const head=document.createElement("b");head.textContent=axis+": "+at[1];tip.append(head);
names.forEach((name,i)=>{if(at[i+2]!==""){const row=document.createElement("div");row.textContent=name+": "+at[i+2];tip.append(row)}});
const small=document.createElement("small");small.textContent=unit;tip.append(small);
figure.append(tip);const left=at[0]/480*box.width+svg.offsetLeft;
tip.style.left=Math.max(0,left>box.width/2?left-tip.offsetWidth-10:left+10)+"px";tip.style.top=svg.offsetTop+14+"px"})});
)js";

}  // namespace switchyard
