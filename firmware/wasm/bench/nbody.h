// SPDX-License-Identifier: Apache-2.0
/* 5-body, STEPS steps, type T */
#ifndef STEPS
#define STEPS 50
#endif
typedef struct { T x,y,z,vx,vy,vz,m; } body;
static body b[5];
static void init(void){
  static const T d[5][7]={
  {0,0,0,0,0,0,(T)39.47841760435743},
  {(T)4.84143144246472090,(T)-1.16032004402742839,(T)-0.103622044471123109,(T)0.606326392995832,(T)2.81198684491626,(T)-0.0252183616598876,(T)0.0376936749094},
  {(T)8.34336671824457987,(T)4.12479856412430479,(T)-0.403523417114321381,(T)-1.01077434617879,(T)1.82566237123041,(T)0.00841576137658415,(T)0.0112863261319688},
  {(T)12.8943695621391310,(T)-15.1111514016986312,(T)-0.223307578892655734,(T)1.08279100644154,(T)0.868713018169608,(T)-0.0108326374013636,(T)0.00172372405705971},
  {(T)15.3796971148509165,(T)-25.9193146099879641,(T)0.179258772950371181,(T)0.979090732243898,(T)0.594698998647676,(T)-0.0347559555504078,(T)0.00203368686992463}};
  for(int i=0;i<5;i++){ b[i].x=d[i][0];b[i].y=d[i][1];b[i].z=d[i][2];b[i].vx=d[i][3];b[i].vy=d[i][4];b[i].vz=d[i][5];b[i].m=d[i][6]; }
}
__attribute__((visibility("default"))) int run(void){
  init();
  const T dt=(T)0.01;
  for(int s=0;s<STEPS;s++){
    for(int i=0;i<5;i++) for(int j=i+1;j<5;j++){
      T dx=b[i].x-b[j].x,dy=b[i].y-b[j].y,dz=b[i].z-b[j].z;
      T d2=dx*dx+dy*dy+dz*dz; T mag=dt/(d2*SQRT(d2));
      b[i].vx-=dx*b[j].m*mag;b[i].vy-=dy*b[j].m*mag;b[i].vz-=dz*b[j].m*mag;
      b[j].vx+=dx*b[i].m*mag;b[j].vy+=dy*b[i].m*mag;b[j].vz+=dz*b[i].m*mag;
    }
    for(int i=0;i<5;i++){ b[i].x+=dt*b[i].vx;b[i].y+=dt*b[i].vy;b[i].z+=dt*b[i].vz; }
  }
  T r=b[0].x*1000+b[1].x*1000+b[2].y*1000;
  return (int)(r*1000);
}
