(()=>{const b=document.body,l=document.getElementById('lost');let busy=false;
const lose=()=>{if(b.classList.contains('lost'))return;b.classList.add('lost');
l.textContent='No answer of this node since '+new Date().toLocaleTimeString()+': everything below is as it was then.'};
const open=()=>[...document.querySelectorAll('details[open][id]')].map(d=>d.id);
const times=()=>[...document.querySelectorAll('main time')];
const tick=async()=>{if(busy)return;busy=true;const c=new AbortController(),t=setTimeout(()=>c.abort(),5000);
try{const r=await fetch('/',{signal:c.signal,cache:'no-store'});if(!r.ok)throw 0;
const m=new DOMParser().parseFromString(await r.text(),'text/html').querySelector('main');if(!m)throw 0;
b.classList.remove('lost');
if(!document.querySelector('details.act[open]')&&!['INPUT','SELECT'].includes((document.activeElement||b).tagName.toUpperCase())){
const ids=open(),n=times().indexOf(document.activeElement);document.querySelector('main').replaceWith(m);
ids.forEach(i=>{const d=document.getElementById(i);if(d)d.open=true});
const f=n<0?null:times()[n];if(f)f.focus({preventScroll:true})}}
catch(e){lose()}finally{clearTimeout(t);busy=false}};
const target=()=>{const d=document.getElementById(decodeURIComponent(location.hash.slice(1)));if(d&&d.tagName==='DETAILS')d.open=true};
addEventListener('hashchange',target);target();
if(location.pathname==='/')setInterval(tick,5000)})();
